// A coach and her client talk: messages are rows, typing is a broadcast, and who is there is presence.
import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { connect, join, leave, refuse, rpc, say, setting, until } from '../steps.ts'

type Message = { id: string; conversation_id: string; sender_id: string; content: string }

const CONVERSATION = 'c0000000-0000-4000-8000-000000000001'
const NAMES: Record<string, string> = {
  'a0000000-0000-4000-8000-000000000001': 'ann',
  'b0000000-0000-4000-8000-000000000001': 'bob',
}

const ann = await connect(setting('ANN_TOKEN'))
const bob = await connect(setting('BOB_TOKEN'))

/** The channel of the conversation, which prints what others do there. */
function conversation(client: SupabaseClient, me: string): RealtimeChannel {
  const heard = (who: string | undefined, what: string) => who !== me && say(`${me} sees: ${who} ${what}`)
  const inserts = {
    event: 'INSERT',
    schema: 'public',
    table: 'messages',
    filter: `conversation_id=eq.${CONVERSATION}`,
  } as const
  return client
    .channel(`conversation:${CONVERSATION}`, { config: { private: true, presence: { key: me } } })
    .on<Message>('postgres_changes', inserts, ({ new: row }) => heard(NAMES[row.sender_id], `writes: ${row.content}`))
    .on('broadcast', { event: 'typing' }, ({ payload }) => heard(payload.name, 'is typing'))
    .on('presence', { event: 'join' }, ({ key }) => heard(key, 'is here'))
    .on('presence', { event: 'leave' }, ({ key }) => heard(key, 'has left'))
}

/** Writes a row, with the writer's own rights. */
const send = (client: SupabaseClient, content: string) =>
  rpc<Message>(client, 'send_message', { conversation_id: CONVERSATION, content })

try {
  const annsChannel = conversation(ann, 'ann')
  const bobsChannel = conversation(bob, 'bob')
  await join(annsChannel)
  await annsChannel.track({ since: new Date().toISOString() })
  await until('bob sees: ann is here', () => join(bobsChannel))
  await until('ann sees: bob is here', () => bobsChannel.track({ since: new Date().toISOString() }))

  await until('ann sees: bob is typing', () =>
    bobsChannel.send({ type: 'broadcast', event: 'typing', payload: { name: 'bob' } }),
  )
  await until('ann sees: bob writes: Can we meet on Friday?', () => send(bob, 'Can we meet on Friday?'))
  await until('bob sees: ann writes: Friday at ten is good.', () => send(ann, 'Friday at ten is good.'))
  await until('ann sees: bob has left', () => bob.removeChannel(bobsChannel))
} catch (error) {
  refuse(error)
} finally {
  await leave(ann, bob)
}
