// A tutor and her student chat: rows tell of messages, edits and reading, broadcasts of typing, presence of who is there.
import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { connect, join, leave, refuse, rpc, say, setting, until } from '../steps.ts'

type Message = { id: string; chat_id: string; sender_id: string; content: string; edited_at: string | null }
type Participant = { chat_id: string; user_id: string; last_read_at: string | null }

const CHAT = 'c0000000-0000-4000-8000-000000000001'
const ANN = 'a0000000-0000-4000-8000-000000000001'
const BOB = 'b0000000-0000-4000-8000-000000000001'
const NAMES: Record<string, string> = { [ANN]: 'Ann', [BOB]: 'Bob' }

const ann = await connect(setting('ANN_TOKEN'))
const bob = await connect(setting('BOB_TOKEN'))

/** The channel of the chat, which prints what others do there. */
function chat(client: SupabaseClient, me: string): RealtimeChannel {
  const heard = (who: string | undefined, what: string) => who && who !== me && say(`${NAMES[me]}: ${NAMES[who]} ${what}`)
  const rows = (table: string) => ({ schema: 'public', table, filter: `chat_id=eq.${CHAT}` })
  return client
    .channel(`chat:${CHAT}`, { config: { private: true, presence: { key: me } } })
    .on<Message>('postgres_changes', { event: 'INSERT', ...rows('messages') }, ({ new: row }) =>
      heard(row.sender_id, `skriver: ${row.content}`),
    )
    .on<Message>('postgres_changes', { event: 'UPDATE', ...rows('messages') }, ({ new: row }) =>
      heard(row.sender_id, `retter: ${row.content}`),
    )
    .on<Participant>('postgres_changes', { event: 'UPDATE', ...rows('chat_participants') }, ({ new: row }) =>
      heard(row.user_id, 'har lest'),
    )
    .on('broadcast', { event: 'typing' }, ({ payload }) => heard(payload.userId, 'skriver...'))
    .on('presence', { event: 'join' }, ({ key, newPresences }) => heard(key, `er ${newPresences[0]?.status}`))
    .on('presence', { event: 'leave' }, ({ key, currentPresences: left }) => left.length || heard(key, 'er frakoblet'))
}

try {
  const annsChannel = chat(ann, ANN)
  const bobsChannel = chat(bob, BOB)
  await join(annsChannel)
  await annsChannel.track({ status: 'tilgjengelig', device: 'desktop' })
  await until('Bob: Ann er tilgjengelig', () => join(bobsChannel))
  await until('Ann: Bob er tilgjengelig', () => bobsChannel.track({ status: 'tilgjengelig', device: 'mobile' }))

  await until('Ann: Bob skriver...', () =>
    bobsChannel.send({ type: 'broadcast', event: 'typing', payload: { userId: BOB } }),
  )
  const question = await until('Ann: Bob skriver: Hva er 7 * 8?', () =>
    rpc<Message>(bob, 'send_message', { chat_id: CHAT, content: 'Hva er 7 * 8?' }),
  )
  await until('Bob: Ann har lest', () => rpc(ann, 'mark_chat_as_read', { chat_id: CHAT }))
  await until('Ann: Bob retter: Hva er 7 * 9?', () =>
    rpc<Message>(bob, 'edit_message', { message_id: question.id, content: 'Hva er 7 * 9?' }),
  )
  await until('Ann: Bob er opptatt', () => bobsChannel.track({ status: 'opptatt', device: 'mobile' }))
  await until('Ann: Bob er frakoblet', () => bob.removeChannel(bobsChannel))
} catch (error) {
  refuse(error)
} finally {
  await leave(ann, bob)
}
