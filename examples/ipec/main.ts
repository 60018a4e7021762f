// A coach and her client on Rowcast's own messaging tables: functions write, and rows, broadcasts and presence are seen.
import type { RealtimeChannel } from '@supabase/supabase-js'
import { enter, join, leave, type Person, refuse, rpc, say, setting, until } from '../steps.ts'

type Message = { id: string; sender_id: string; content: string; deleted_at: string | null }
type Presence = { user_id: string; status: string; is_automatic: boolean }
type Conversation = { id: string; unread_count: number; last_message: Message | null }

const ann = await enter('Ann', setting('ANN_TOKEN'))
const bob = await enter('Bob', setting('BOB_TOKEN'))

const heartbeat = setInterval(() => void rpc(ann.client, 'update_user_presence', { status: 'online' }), 30_000)

/** The channel of a conversation, which prints what the other one does there. */
function conversation(id: string, me: Person, other: Person): RealtimeChannel {
  const heard = (who: string, what: string) => who === other.id && say(`${me.name} sees: ${other.name} ${what}`)
  const statuses = new Map<string, string>()
  const rows = (table: string) => ({ schema: 'public', table, filter: `conversation_id=eq.${id}` })
  return me.client
    .channel(`conversation:${id}`, { config: { private: true } })
    .on<Message>('postgres_changes', { event: 'INSERT', ...rows('messages') }, ({ new: row }) =>
      heard(row.sender_id, `writes: ${row.content}`),
    )
    .on<Message>('postgres_changes', { event: 'UPDATE', ...rows('messages') }, ({ new: row }) =>
      heard(row.sender_id, row.deleted_at ? 'deletes a message' : `edits: ${row.content}`),
    )
    .on('postgres_changes', { event: 'INSERT', ...rows('message_reactions') }, ({ new: row }) =>
      heard(row['user_id'], `reacts: ${row['emoji']}`),
    )
    .on('postgres_changes', { event: 'INSERT', ...rows('message_read_receipts') }, ({ new: row }) =>
      heard(row['read_by_user_id'], 'has read it'),
    )
    .on<Presence>('postgres_changes', { event: '*', schema: 'public', table: 'user_presence' }, ({ new: row }) => {
      // What the server keeps by itself, and heartbeats that change nothing, are no news.
      if (!('status' in row) || row.is_automatic || statuses.get(row.user_id) === row.status) return
      statuses.set(row.user_id, row.status)
      heard(row.user_id, `is ${row.status}`)
    })
    .on('broadcast', { event: 'typing' }, ({ payload }) => heard(payload.user_id, 'is typing'))
}

const send = (who: Person, conversation_id: string, content: string) =>
  rpc<Message>(who.client, 'send_message', { conversation_id, content })

try {
  const start = () => rpc<Conversation>(ann.client, 'start_conversation', { participant_ids: [bob.id] })
  const id = process.env['CONVERSATION'] ?? (await start()).id
  const annsChannel = conversation(id, ann, bob)
  const bobsChannel = conversation(id, bob, ann)
  await join(annsChannel)
  await join(bobsChannel)

  await until('Bob sees: Ann writes: How was your week, Bob?', () => send(ann, id, 'How was your week, Bob?'))
  const list = await rpc<Conversation[]>(bob.client, 'list_conversations')
  const entry = list.find((one) => one.id === id)
  say(`Bob's list: ${entry?.unread_count} unread: ${entry?.last_message?.content}`)
  await until('Bob sees: Ann is online', () => rpc(ann.client, 'update_user_presence', { status: 'online' }))
  await until('Ann sees: Bob has read it', () =>
    rpc(bob.client, 'mark_conversation_as_read', { conversation_id: id }),
  )
  await until('Ann sees: Bob is typing', () =>
    bobsChannel.send({ type: 'broadcast', event: 'typing', payload: { user_id: bob.id } }),
  )
  const reply = await until('Ann sees: Bob writes: Good. Next on Firday?', () => send(bob, id, 'Good. Next on Firday?'))
  await until('Ann sees: Bob edits: Good. Next on Friday?', () =>
    rpc(bob.client, 'edit_message', { message_id: reply.id, content: 'Good. Next on Friday?' }),
  )
  await until('Bob sees: Ann reacts: 👍', () =>
    rpc(ann.client, 'add_message_reaction', { message_id: reply.id, emoji: '👍' }),
  )
  const slip = await until('Ann sees: Bob writes: Milk, bread', () => send(bob, id, 'Milk, bread'))
  await until('Ann sees: Bob deletes a message', () => rpc(bob.client, 'delete_message', { message_id: slip.id }))
  const [found] = await rpc<Message[]>(ann.client, 'search_messages', { query: 'friday', page_limit: 1 })
  say(`Ann finds: ${found?.content}`)
  await until('Bob sees: Ann has read it', () =>
    rpc(ann.client, 'mark_message_as_read', { message_id: reply.id }),
  )
  await until('Bob sees: Ann is offline', () => rpc(ann.client, 'update_user_presence', { status: 'offline' }))
} catch (error) {
  refuse(error)
} finally {
  clearInterval(heartbeat)
  await leave(ann.client, bob.client)
}
