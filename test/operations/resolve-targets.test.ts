import path from 'node:path'
import { describe, expect, test } from 'vitest'
import type { ModelRecord } from '../../src/catalog/catalog.js'
import type { Target } from '../../src/engine/analyses/targets.js'
import type { EngineError, Problem } from '../../src/engine/errors.js'
import { describeModel } from '../../src/engine/models/load.js'
import { Problems } from '../../src/operations/errors.js'
import { fixedLimits } from '../../src/operations/limits.js'
import type { Call, Context } from '../../src/operations/operation.js'
import { checkTargets, resolveTargets } from '../../src/operations/resolve-targets.js'
import { type TargetInput, Targets } from '../../src/operations/schemas/target.js'
import { validator } from '../../src/operations/validate.js'

const fixture = (name: string) => path.resolve(import.meta.dirname, '../fixtures/models', name)

async function record(id: string, folder: string, change: object = {}): Promise<ModelRecord> {
  return { id, description: { ...(await describeModel(fixture(folder))), ...change } } as ModelRecord
}

const classifier = await record('vit', 'hf-vit-classifier', { classLabels: ['apple', 'pear', 'pear'] })
const nameless = await record('nameless', 'timm-token', { classLabels: undefined })
const clip = await record('clip', 'open-clip')
const headless = await record('dino', 'hf-dinov2')
const nClasses = classifier.description.vision.output.shape[1] as number

function problemsOf(model: ModelRecord, ...targets: TargetInput[]): readonly Problem[] {
  const problems = new Problems()
  checkTargets(targets, { model }, problems)
  try {
    problems.throwIfAny()
  } catch (error) {
    return (error as EngineError).problems
  }
  return []
}

/** Nothing here asks for a text, so nothing runs. */
async function resolved(model: ModelRecord, ...targets: TargetInput[]): Promise<Target[]> {
  const problems = new Problems()
  const checked = checkTargets(targets, { model }, problems)
  problems.throwIfAny()
  return resolveTargets({} as Context, checked, {} as Call)
}

const unit = (index: number, width = nClasses) => Float32Array.from({ length: width }, (_, at) => (at === index ? 1 : 0))

describe('targets', () => {
  test('of a classifier are unit vectors of its classes, by index and by name', async () => {
    expect(nClasses).toBe(3)
    expect(await resolved(classifier, { class: 1 }, { class: 'apple' })).toEqual([
      { label: 'pear', direction: unit(1) },
      { label: 'apple', direction: unit(0) },
    ])
  })

  test('of a difference are the one minus the other', async () => {
    const [target] = await resolved(classifier, { difference: [{ class: 'apple' }, { class: 2 }] })
    expect(target).toEqual({ label: 'apple minus pear', direction: Float32Array.from([1, 0, -1]) })
  })

  test('may be a direction along the output of a model that has neither classes nor texts', async () => {
    const width = headless.description.vision.output.shape[1] as number
    const direction = Array.from({ length: width }, (_, at) => at / 2)
    expect(await resolved(headless, { direction, label: 'mine' })).toEqual([{ label: 'mine', direction: Float32Array.from(direction) }])
    expect(problemsOf(headless, { direction: [1, 2] })).toEqual([
      { path: 'targets[0].direction', message: `has 2 numbers, and the output of dino has ${width}` },
    ])
    expect(problemsOf(headless, { direction: direction.map(() => 0) })[0]!.message).toMatch(/is zero/)
  })

  test('that a model cannot answer are refused, all at once, each at its path', () => {
    expect(
      problemsOf(classifier, { class: 5 }, { class: 'aple' }, { text: 'a' }, { difference: [{ class: 'pear' }, { class: 9 }] }),
    ).toEqual([
      { path: 'targets[0].class', message: '5 is out of range; vit has classes 0 to 2' },
      { path: 'targets[1].class', message: 'vit has no class "aple"; did you mean "apple"?' },
      { path: 'targets[2].text', message: 'vit has no text tower; name one of its classes: {"class": ...}' },
      { path: 'targets[3].difference[0].class', message: '2 classes are called "pear": 1, 2; give an index' },
      { path: 'targets[3].difference[1].class', message: '9 is out of range; vit has classes 0 to 2' },
    ])
  })

  test('by name are refused where classes have no names', () => {
    expect(problemsOf(nameless, { class: 'dog' })[0]!.message).toMatch(/the classes of nameless have no names; give an index from 0 to/)
    expect(problemsOf(nameless, { class: 0 })).toEqual([])
  })

  test('of classes are refused by a model that has none', () => {
    expect(problemsOf(clip, { class: 0 })[0]).toEqual({
      path: 'targets[0].class',
      message: 'clip is no classifier and has no classes of its own; name a text: {"text": ...}',
    })
    expect(problemsOf(headless, { class: 0 }, { text: 'a' }).map(({ message }) => message)).toEqual([
      'dino is no classifier and has no classes of its own; give a direction along its output: {"direction": [...]}',
      'dino has no text tower; give a direction along its output: {"direction": [...]}',
    ])
  })

  test('that differ from nothing are refused', () => {
    expect(problemsOf(clip, { difference: [{ text: 'a' }, { text: 'a' }] })[0]).toEqual({
      path: 'targets[0].difference',
      message: 'is of "a" and itself, which is 0 for every image',
    })
    expect(problemsOf(clip, { difference: [{ text: 'a' }, { text: 'a', templates: ['one {}'] }] })).toEqual([])
    expect(problemsOf(classifier, { difference: [{ class: 0 }, { class: 'apple' }] })).toHaveLength(1)
  })

  test('need a model that pools', () => {
    const output = { axes: ['batch', 'pos', 'dEmbed'], shape: ['batch', 5, 6] }
    const model = {
      ...clip,
      description: { ...clip.description, vision: { ...clip.description.vision, output } },
    } as unknown as ModelRecord
    expect(problemsOf(model, { text: 'a' })[0]!.message).toMatch(/does not pool/)
  })

  test('of too many prompts are refused by the number', () => {
    const templates = Array.from({ length: fixedLimits.templates }, (_, at) => `${at} {}`)
    const many = Array.from({ length: 1 + fixedLimits.prompts / templates.length }, (_, at) => ({ text: String(at), templates }))
    expect(problemsOf(clip, ...many)).toEqual([
      { path: 'targets', message: expect.stringMatching(/texts times templates: 20100 is more than the limit "prompts" of 20000/) },
    ])
  })

  test('are written strictly', () => {
    const check = validator(Targets)
    const messages = (value: unknown) => {
      try {
        check(value)
      } catch (error) {
        return (error as EngineError).problems.map(({ path: at, message }) => `${at} ${message}`).join('\n')
      }
      return ''
    }
    expect(
      messages([{ class: 'a' }, { class: 3 }, { text: 'a', templates: ['a {}'] }, { difference: [{ class: 1 }, { text: 'b' }] }]),
    ).toBe('')
    expect(messages([])).toMatch(/is empty/)
    expect(messages([{ difference: [{ class: 1 }] }])).toMatch(/\[0\]\.difference has 1 of at least 2 items/)
    expect(messages([{ klass: 1 }])).not.toBe('')
    expect(messages([{ class: -1 }])).not.toBe('')
    expect(messages(Array.from({ length: 33 }, () => ({ class: 1 })))).toMatch(/limit "targets" of 32/)
  })
})
