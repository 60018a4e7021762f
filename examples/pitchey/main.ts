// A founder and an investor talk over one socket each; what is written while it is away is sent when it is back.
import { randomUUID } from 'node:crypto'
import WebSocket from 'ws'
import { enter, type Person, refuse, request, rpc, say, setting, until } from '../steps.ts'

type Frame = {
  type: string
  messageId: string
  clientMessageId: string
  senderId: string
  userId: string
  readBy: string
  content: string
  isTyping: boolean
  message: string
}
type Conversation = { id: string; unreadCount: number; lastMessage: { content: string } | null }

/** One person's device: prints what others do, and keeps what it writes until the server has it. */
class Device {
  readonly #owner: Person
  readonly #names: Map<string, string>
  /** The last message that came. */
  last = ''
  /** Whose coming it tells of, once; who came a moment before is online already. */
  #awaited: string | undefined
  #socket: WebSocket | undefined
  #heartbeat: NodeJS.Timeout | undefined
  readonly #unconfirmed = new Map<string, object>()

  constructor(owner: Person, names: Map<string, string>, awaited?: Person) {
    this.#owner = owner
    this.#names = names
    this.#awaited = awaited?.id
  }

  connect(): Promise<void> {
    const address = setting('SUPABASE_URL').replace('http', 'ws')
    const socket = new WebSocket(`${address}/api/messages/ws?token=${this.#owner.token}`)
    return new Promise((resolve, reject) => {
      socket.on('error', reject)
      socket.on('message', (text) => {
        const frame = JSON.parse(String(text)) as Frame
        if (frame.type !== 'connected') return this.#take(frame)
        this.#socket = socket
        this.#heartbeat = setInterval(() => this.send({ type: 'ping' }), 30_000)
        this.#unconfirmed.forEach((waiting) => this.send(waiting))
        resolve()
      })
    })
  }

  write(conversationId: string, content: string): void {
    const message = { type: 'send_message', conversationId, content, clientMessageId: randomUUID() }
    this.#unconfirmed.set(message.clientMessageId, message)
    this.send(message)
  }

  send(frame: object): void {
    this.#socket?.send(JSON.stringify(frame))
  }

  disconnect(): void {
    clearInterval(this.#heartbeat)
    this.#socket?.close()
    this.#socket = undefined
  }

  #take(frame: Frame): void {
    const { id, name } = this.#owner
    const heard = (who: string, what: string) => who !== id && say(`${name} sees: ${this.#names.get(who)} ${what}`)
    if (frame.type === 'message_sent') this.#unconfirmed.delete(frame.clientMessageId)
    else if (frame.type === 'user_online' && frame.userId === this.#awaited) {
      this.#awaited = undefined
      heard(frame.userId, 'is online')
    } else if (frame.type === 'user_typing' && frame.isTyping) heard(frame.userId, 'is typing')
    else if (frame.type === 'message_read') heard(frame.readBy, 'has read it')
    else if (frame.type === 'error') say(`${name} is told: ${frame.message}`)
    else if (frame.type === 'new_message') {
      this.last = frame.messageId
      heard(frame.senderId, `writes: ${frame.content}`)
    }
  }
}

const ann = await enter('Ann', setting('ANN_TOKEN'))
const bob = await enter('Bob', setting('BOB_TOKEN'))
const names = new Map([ann, bob].map(({ id, name }) => [id, name]))
const [anns, bobs] = [new Device(ann, names, bob), new Device(bob, names)]
try {
  const start = () => rpc<{ id: string }>(ann.client, 'start_conversation', { participant_ids: [bob.id] })
  const conversationId = process.env['CONVERSATION'] ?? (await start()).id
  // What was said before: an app shows it first.
  for (const { token } of [ann, bob]) await request(token, 'GET', `/api/messages/${conversationId}/messages`)

  await anns.connect()
  await until('Ann sees: Bob is online', () => bobs.connect())
  await until('Ann sees: Bob is typing', () => bobs.send({ type: 'typing_start', conversationId }))
  await until('Ann sees: Bob writes: Is the deck ready?', () => bobs.write(conversationId, 'Is the deck ready?'))
  await until('Bob sees: Ann has read it', () => anns.send({ type: 'message_read', messageId: anns.last }))

  bobs.disconnect()
  say('Bob is offline, and writes two messages')
  bobs.write(conversationId, 'I am on a train.')
  bobs.write(conversationId, 'Send it by mail, please.')
  await until('Ann sees: Bob writes: Send it by mail, please.', () => bobs.connect())

  const path = '/api/messages/conversations'
  const { conversations } = await request<{ conversations: Conversation[] }>(ann.token, 'GET', path)
  const entry = conversations.find(({ id }) => id === conversationId)
  say(`Ann's list: ${entry?.unreadCount} unread: ${entry?.lastMessage?.content}`)
} catch (error) {
  refuse(error)
} finally {
  anns.disconnect()
  bobs.disconnect()
}
