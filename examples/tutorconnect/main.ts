// A tutor and her student: the app's REST interface writes, and the stock client joins the channels that it names.
import { randomUUID } from 'node:crypto'
import { enter, join, leave, type Person, refuse, request, rpc, say, setting, until } from '../steps.ts'

type Row = Record<string, string | boolean | null>
type Binding = { event: '*'; schema: string; table: string; filter?: string }
type Channel = { name: string; config: { private: boolean; presence?: { key: string } }; postgresChanges: Binding[] }
type Message = { id: string; content: string }
type Status = { participants: { name: string; isTyping: boolean; isOnline: boolean }[]; unreadCount: number }

/** Asks the app's REST interface. */
const api = async <T>({ token }: Person, method: string, path: string, body?: object): Promise<T> =>
  (await request<{ data: T }>(token, method, `/api/${path}`, body)).data

/** Joins the channels of a chat as the app is told to, and prints what the other one does there. */
async function open(chatId: string, me: Person, other: Person): Promise<void> {
  const { channels } = await api<{ channels: Channel[] }>(me, 'POST', 'chat/realtime', { chatId })
  for (const { name, config, postgresChanges } of channels) {
    const channel = me.client.channel(name, { config })
    let last = ''
    for (const binding of postgresChanges)
      channel.on<Row>('postgres_changes', binding, ({ table, eventType, new: changed }) => {
        const row = changed as Row
        const who = row['sender_id'] ?? row['read_by_user_id'] ?? row['user_id']
        const what = told(table, eventType, row)
        if (!what || who !== other.id || what === last) return
        last = what // a heartbeat that changes nothing is no news
        say(`${me.name} ser: ${other.name} ${what}`)
      })
    await join(channel)
  }
}

/** What a change of a row says to a reader. */
function told(table: string, eventType: string, row: Row): string | undefined {
  if (table === 'messages') {
    if (eventType === 'INSERT') return `skriver: ${row['content']}`
    return row['deleted_at'] ? 'sletter en melding' : `retter: ${row['content']}`
  }
  if (table === 'message_read_receipts') return 'har lest'
  if (table === 'message_typing_indicators' && eventType === 'INSERT') return 'skriver...'
  if (table === 'user_presence' && !row['is_automatic']) return `er ${row['status']}`
  return undefined
}

const ann = await enter('Ann', setting('ANN_TOKEN'))
const bob = await enter('Bob', setting('BOB_TOKEN'))
try {
  const start = () => rpc<{ id: string }>(ann.client, 'start_conversation', { participant_ids: [bob.id] })
  const chatId = process.env['CHAT'] ?? (await start()).id
  await open(chatId, ann, bob)
  await open(chatId, bob, ann)

  await until('Ann ser: Bob er online', () => rpc(bob.client, 'update_user_presence', { status: 'online' }))
  await until('Ann ser: Bob skriver...', () => api(bob, 'POST', 'messages/typing', { chatId, isTyping: true }))
  const status = await api<Status>(ann, 'GET', `chat/realtime?chatId=${chatId}`)
  const typing = status.participants.filter(({ isTyping }) => isTyping).map(({ name }) => name)
  say(`Chat: ${typing.join(', ')} skriver`)

  // Sent twice, as after a lost answer, and there once.
  const question = { chatId, content: 'Hva er 7 * 8?', clientMessageId: randomUUID() }
  const sent = await until('Ann ser: Bob skriver: Hva er 7 * 8?', () => api<Message>(bob, 'POST', 'messages', question))
  const again = await api<Message>(bob, 'POST', 'messages', question)
  say(`Chat: ${again.id === sent.id ? 'den samme meldingen' : 'to meldinger'}`)
  await until('Bob ser: Ann har lest', () => api(ann, 'POST', 'messages/read-receipts', { messageId: sent.id }))

  const content = 'Hva er 7 * 9?'
  await until(`Ann ser: Bob retter: ${content}`, () => api(bob, 'PUT', `messages/${sent.id}`, { content }))
  await until('Ann ser: Bob sletter en melding', () => api(bob, 'DELETE', `messages/${sent.id}`))
  await until('Ann ser: Bob er busy', () => rpc(bob.client, 'update_user_presence', { status: 'busy' }))
  await until('Ann ser: Bob er offline', () => rpc(bob.client, 'update_user_presence', { status: 'offline' }))
} catch (error) {
  refuse(error)
} finally {
  await leave(ann.client, bob.client)
}
