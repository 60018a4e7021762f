// Drives a stock supabase-js: reads orders as JSON lines, prints what the client saw as JSON lines.
//
// The first argument is the version, as in package.json. An order is {order, do, as, …}: `order` is its number, `do`
// names one of the functions below, and `as` is whose client is meant. Every order is answered with {kind: "done"}.
import { createInterface } from 'node:readline'
import ws from 'ws'

const version = process.argv[2]
const { createClient } = await import(`supabase-js-${version}`)

/** Of each user: the client, the token it hands out, and the channels by topic. */
const users = new Map()

const say = (seen) => process.stdout.write(`${JSON.stringify(seen)}\n`)

const orders = {
  connect({ as, url, key, token }) {
    const user = { token, channels: new Map() }
    // 2.39 knows no access token of the caller's own, and leaves a socket of another transport without its handlers.
    const options =
      version === '2-39' ? {} : { realtime: { transport: ws }, accessToken: async () => user.token ?? key }
    user.client = createClient(url, key, { auth: { persistSession: false }, ...options })
    users.set(as, user)
    return authorize(user)
  },

  authorize({ as, token }) {
    users.get(as).token = token
    return authorize(users.get(as))
  },

  subscribe({ as, topic, config, changes = [], presence = false }) {
    const user = users.get(as)
    const channel = user.client.channel(topic, { config })
    user.channels.set(topic, channel)
    changes.forEach((binding, index) =>
      channel.on('postgres_changes', binding, (change) =>
        say({
          as,
          topic,
          kind: 'change',
          binding: index,
          type: change.eventType,
          schema: change.schema,
          table: change.table,
          commit_timestamp: change.commit_timestamp,
          new: change.new,
          old: change.old,
          errors: change.errors,
        }),
      ),
    )
    channel.on('broadcast', { event: '*' }, ({ event, payload }) =>
      say({ as, topic, kind: 'broadcast', event, payload: shown(payload) }),
    )
    if (presence) {
      channel.on('presence', { event: 'sync' }, () =>
        say({ as, topic, kind: 'presence', event: 'sync', state: channel.presenceState() }),
      )
      channel.on('presence', { event: 'join' }, ({ key, newPresences }) =>
        say({ as, topic, kind: 'presence', event: 'join', key, metas: newPresences }),
      )
      channel.on('presence', { event: 'leave' }, ({ key, leftPresences }) =>
        say({ as, topic, kind: 'presence', event: 'leave', key, metas: leftPresences }),
      )
    }
    channel.on('system', {}, ({ extension, status, message }) =>
      say({ as, topic, kind: 'system', extension, status, message }),
    )
    channel.subscribe((status, error) =>
      say({ as, topic, kind: 'status', status, error: error?.message ?? null }),
    )
  },

  send: ({ as, topic, event, payload }) => channel(as, topic).send({ type: 'broadcast', event, payload }),

  // A channel that is not joined: what is sent on it goes over HTTP.
  open({ as, topic, config }) {
    const user = users.get(as)
    user.channels.set(topic, user.client.channel(topic, { config }))
  },

  http_send: ({ as, topic, event, payload, bytes }) =>
    channel(as, topic).httpSend(event, bytes ? new Uint8Array(bytes).buffer : payload),

  track: ({ as, topic, payload }) => channel(as, topic).track(payload),

  untrack: ({ as, topic }) => channel(as, topic).untrack(),

  // Not removeChannel: in 2.49 it forgets every channel of the client, and disconnects.
  leave: ({ as, topic }) => channel(as, topic).unsubscribe(),

  // Each of `then` is a method of the call and its arguments, such as ["select", "id"].
  async rpc({ as, name, args, options, schema, then = [] }) {
    const { client } = users.get(as)
    let call = (schema ? client.schema(schema) : client).rpc(name, args, options)
    for (const [method, ...values] of then) call = call[method](...values)
    const { data, error, status, count } = await call
    return { data, error: error && { ...error, message: error.message }, status, count }
  },

  disconnect: ({ as }) => users.get(as).client.removeAllChannels(),
}

/** Bytes as a list of numbers. */
const shown = (payload) => (payload instanceof ArrayBuffer ? { bytes: [...new Uint8Array(payload)] } : payload)

const channel = (as, topic) => users.get(as).channels.get(topic)

/** With a token of its own for 2.39, else through the callback given to createClient. */
const authorize = ({ client, token }) =>
  version === '2-39' ? token && client.realtime.setAuth(token) : client.realtime.setAuth()

process.on('unhandledRejection', (error) => say({ kind: 'failure', error: String(error) }))
say({ kind: 'ready' })
const input = createInterface({ input: process.stdin })
input.on('line', async (line) => {
  const order = JSON.parse(line)
  try {
    say({ kind: 'done', order: order.order, result: (await orders[order.do](order)) ?? null })
  } catch (error) {
    say({ kind: 'done', order: order.order, error: String(error) })
  }
})
// The test has ended, however it ended.
input.on('close', () => process.exit(0))
