// A school's app: what was written while it was closed, then what is written now, and each message once.
import WebSocket from 'ws'
import { enter, refuse, request, rpc, say, setting, until } from '../steps.ts'

type Message = { id: string; thread_id: string; content: string; sender: { full_name: string; role: string } }
type Frame = { type: string; data: Message; message: string; thread_id: string }
type Answer<T> = { status: 'success'; data: T }

/** The app's own client. */
class ChatClient {
  readonly #token: string
  #socket: WebSocket | undefined
  /** An app keeps it in its storage. */
  #lastCheck = '2024-01-01T00:00:00Z'

  constructor(token: string) {
    this.#token = token
  }

  /** What the app does whenever it is opened: the badge, what was missed, and then the socket. */
  async open(): Promise<void> {
    const { data: badge } = await this.get<{ unread_count: number }>('unread-count')
    say(`badge: ${badge.unread_count}`)
    const since = encodeURIComponent(this.#lastCheck)
    const { data: missed } = await this.get<{ messages: Message[]; last_check_time: string }>(
      `offline-messages?last_check_time=${since}`,
    )
    missed.messages.forEach((message) => this.#show('missed', message))
    this.#lastCheck = missed.last_check_time
    await this.#connect()
  }

  close(): void {
    this.#socket?.close()
  }

  get<T>(path: string): Promise<Answer<T>> {
    return request(this.#token, 'GET', `/api/chat/${path}`)
  }

  markRead(thread: string): Promise<Answer<never>> {
    return request(this.#token, 'POST', `/api/chat/mark-read/${thread}`)
  }

  #connect(): Promise<void> {
    const socket = new WebSocket(`${setting('SUPABASE_URL').replace('http', 'ws')}/?token=${this.#token}`)
    this.#socket = socket
    return new Promise((resolve, reject) => {
      socket.on('error', reject)
      socket.on('message', (text) => {
        const frame = JSON.parse(String(text)) as Frame
        if (frame.type === 'connection_established') resolve()
        else if (frame.type === 'new_message') this.#show('new', frame.data)
        else if (frame.type === 'error') say(`error: ${frame.message}`)
      })
    })
  }

  #show(how: string, { sender, content }: Message): void {
    if (sender.full_name !== 'Bob') say(`${how}: ${content} (${sender.full_name}, ${sender.role})`)
  }
}

const app = new ChatClient(setting('BOB_TOKEN'))
try {
  const teacher = await enter('Ms Frost', setting('STAFF_TOKEN'))
  const bob = await enter('Bob', setting('BOB_TOKEN'))
  const start = () => rpc<{ id: string }>(teacher.client, 'start_conversation', { participant_ids: [bob.id] })
  const thread = process.env['THREAD'] ?? (await start()).id
  const write = (content: string) => rpc(teacher.client, 'send_message', { conversation_id: thread, content })

  await write('Homework is due on Monday.')
  await until('missed: Homework is due on Monday. (Ms Frost, staff)', () => app.open())
  await until('new: Bring a ruler. (Ms Frost, staff)', () => write('Bring a ruler.'))
  await app.markRead(thread)
  app.close()

  await write('No school tomorrow: snow.')
  await until('missed: No school tomorrow: snow. (Ms Frost, staff)', () => app.open())
  await app.markRead(thread)
  const { data } = await app.get<{ unread_count: number }>('unread-count')
  say(`badge: ${data.unread_count}`)
} catch (error) {
  refuse(error)
} finally {
  app.close()
}
