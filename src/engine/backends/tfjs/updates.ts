import { device, type TfKernel } from './kernel.js'

export const updates = {
  AdamUpdate: ({ tf, inputs, attributes }) => {
    const [p, g, m, v, rate, epsilon] = inputs.slice(0, 6).map((input) => device(tf, input))
    const nextM = tf.add(tf.mul(m!, attributes.beta1 as number), g!)
    const nextV = tf.add(tf.mul(v!, attributes.beta2 as number), tf.square(g!))
    const change = tf.mul(tf.div(nextM, tf.add(tf.sqrt(nextV), epsilon!)), rate!)
    return [tf.sub(inputs[6] ? tf.mul(p!, device(tf, inputs[6])) : p!, change), nextM, nextV]
  },
} as const satisfies Record<string, TfKernel>
