/** How far a training is: a bar with rate, loss and time left in a terminal, a line now and then elsewhere. */

import cliProgress from 'cli-progress'
import type { Progress } from '../engine/training/run/training-run.js'

const LINES = 20

export interface TrainingDisplay {
  data(what: string, done: number, total: number): void
  step(progress: Progress): void
  note(text: string): void
  /** Leaves the screen in order. */
  end(): void
}

export function trainingDisplay(stream: NodeJS.WritableStream & { isTTY?: boolean }): TrainingDisplay {
  return stream.isTTY ? bars(stream) : lines(stream)
}

function bars(stream: NodeJS.WritableStream): TrainingDisplay {
  const bar = new cliProgress.SingleBar(
    { format: '  {bar} {percentage}%  {what}', stream, hideCursor: true, barsize: 30 },
    cliProgress.Presets.shades_classic,
  )
  let phase: string | undefined
  const end = () => {
    if (bar.isActive) bar.stop()
    phase = undefined
  }
  const show = (name: string, done: number, total: number, what: string) => {
    if (phase !== name) {
      end()
      bar.start(total, 0, { what })
      phase = name
    }
    bar.setTotal(total)
    bar.update(done, { what })
  }
  return {
    data: (what, done, total) => show(what, done, total, `${what}: ${done} of ${total}`),
    step: (progress) => show('training', progress.step, progress.nSteps, described(progress)),
    note(text) {
      end()
      stream.write(`${text}\n`)
    },
    end,
  }
}

function lines(stream: NodeJS.WritableStream): TrainingDisplay {
  const said = new Map<string, number>()
  const isDue = (what: string, done: number, total: number) => {
    const part = total === 0 ? LINES : Math.floor((LINES * done) / total)
    if (part <= (said.get(what) ?? 0)) return false
    said.set(what, part)
    return true
  }
  return {
    data(what, done, total) {
      if (done === total && isDue(what, done, total)) stream.write(`${what}: ${total}\n`)
    },
    step(progress) {
      if (isDue('training', progress.step, progress.nSteps)) stream.write(`${described(progress)}\n`)
    },
    note: (text) => void stream.write(`${text}\n`),
    end() {},
  }
}

function described({ step, nSteps, numbers, stepsPerSecond, secondsLeft }: Progress): string {
  const parts = [`step ${step} of ${nSteps}`]
  if (numbers.loss !== undefined) parts.push(`loss ${numbers.loss.toPrecision(4)}`)
  if (stepsPerSecond !== undefined)
    parts.push(stepsPerSecond >= 1 ? `${stepsPerSecond.toFixed(1)} steps/s` : `${(1 / stepsPerSecond).toFixed(1)} s/step`)
  if (secondsLeft !== undefined) parts.push(`${duration(secondsLeft)} left`)
  return parts.join(', ')
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
