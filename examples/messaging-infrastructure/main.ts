// A customer of a portal, who has no account, and the staff: messages, typing, receipts, delivery and unread counts.
import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { enter, join, leave, type Person, refuse, request, rpc, say, setting, until } from '../steps.ts'

type Row = Record<string, string | boolean | null>
type Handlers = {
  onMessage?: (message: Row) => void
  onReadReceipt?: (receipt: Row) => void
  onTyping?: (indicator: Row) => void
  onDeliveryStatus?: (status: Row) => void
}
type Subscription = { data: { channels: string[]; features: Record<string, boolean> } }

/** What an application keeps of its subscriptions, and the calls that go with them. */
class RealtimeMessagingManager {
  readonly client: SupabaseClient

  constructor(client: SupabaseClient) {
    this.client = client
  }

  /** What a customer is told: their own conversations, as policies let a customer see no others. */
  subscribeToCustomerMessages = (customerId: string, handlers: Handlers) =>
    join(this.#bind(this.#channel(`customer:${customerId}:messages`), handlers))

  /** What one of the staff is told: all conversations. */
  subscribeToStaffMessages = (userId: string, handlers: Handlers) =>
    join(this.#bind(this.#channel(`staff:${userId}:messages`), handlers))

  /** Who is there: everybody who is tracked on the conversation's own channel. */
  async subscribeToPresence(channel: string, key: string, onJoin: (key: string) => void): Promise<void> {
    const presence = this.#channel(channel, key).on('presence', { event: 'join' }, (joined) => onJoin(joined.key))
    await new Promise<void>((resolve, reject) =>
      presence.subscribe((status, error) => (status === 'SUBSCRIBED' ? resolve() : reject(error))),
    )
    await presence.track({ status: 'online' })
  }

  sendTypingIndicator = (conversation_id: string, is_typing: boolean) =>
    rpc(this.client, 'update_typing_indicator', { conversation_id, is_typing })

  markMessageAsDelivered = (id: string) => rpc(this.client, 'mark_messages_as_delivered', { message_ids: [id] })

  markMessageAsRead = (message_id: string) => rpc(this.client, 'mark_message_as_read', { message_id })

  getUnreadCount = () => rpc<number>(this.client, 'get_unread_message_count')

  #channel(name: string, key = ''): RealtimeChannel {
    return this.client.channel(name, { config: { private: true, presence: { key } } })
  }

  #bind(channel: RealtimeChannel, { onMessage, onReadReceipt, onTyping, onDeliveryStatus }: Handlers): RealtimeChannel {
    const on = (event: string, table: string, handle?: (row: Row) => void) =>
      channel.on<Row>('postgres_changes', { event: '*', schema: 'public', table }, (change) => {
        if (change.eventType === event) handle?.(change.new as Row)
      })
    on('INSERT', 'messages', onMessage)
    on('INSERT', 'message_read_receipts', onReadReceipt)
    on('INSERT', 'message_typing_indicators', onTyping)
    return on('UPDATE', 'message_delivery_status', onDeliveryStatus)
  }
}

const cleo = await enter('Cleo', setting('CUSTOMER_TOKEN'))
const sam = await enter('Sam', setting('STAFF_TOKEN'))
const customer = new RealtimeMessagingManager(cleo.client)
const staff = new RealtimeMessagingManager(sam.client)
const send = ({ client }: Person, conversation_id: string, content: string) =>
  rpc<{ id: string }>(client, 'send_message', { conversation_id, content })
try {
  const start = () => rpc<{ id: string }>(cleo.client, 'start_conversation', { kind: 'support' })
  const conversation = process.env['CONVERSATION'] ?? (await start()).id
  await staff.subscribeToStaffMessages(sam.id, {
    onMessage: ({ sender_type, content }) => sender_type === 'customer' && say(`staff gets: ${content}`),
    onReadReceipt: ({ read_by_customer_id }) => read_by_customer_id && say('staff sees: the customer has read it'),
    onDeliveryStatus: ({ status }) => status === 'delivered' && say('staff sees: it was delivered'),
  })
  await customer.subscribeToCustomerMessages(cleo.id, {
    onMessage: ({ id, sender_type, content }) => {
      if (sender_type !== 'staff') return
      say(`customer gets: ${content}`)
      void customer.markMessageAsDelivered(String(id))
    },
    onTyping: ({ user_id }) => user_id && say('customer sees: somebody is typing'),
  })

  // What a conversation's own channels are called, the application asks its REST interface.
  const body = { conversationId: conversation, includePresence: true, includeTyping: true, includeReadReceipts: true }
  const path = '/api/messages/realtime/subscribe'
  const { data } = await request<Subscription>(cleo.token, 'POST', path, body)
  say(`channels of a conversation: ${data.channels.map((name) => name.replace(conversation, '<id>')).join(', ')}`)
  const presence = data.channels[1] ?? ''
  await staff.subscribeToPresence(presence, 'sam', (key) => key === 'cleo' && say('staff sees: the customer is here'))
  await until('staff sees: the customer is here', () => customer.subscribeToPresence(presence, 'cleo', () => {}))

  await until('staff gets: Where is my order?', () => send(cleo, conversation, 'Where is my order?'))
  await until('customer sees: somebody is typing', () => staff.sendTypingIndicator(conversation, true))
  const answer = await until('staff sees: it was delivered', () => send(sam, conversation, 'On its way.'))
  say(`customer has ${await customer.getUnreadCount()} unread`)
  await until('staff sees: the customer has read it', () => customer.markMessageAsRead(answer.id))
  say(`customer has ${await customer.getUnreadCount()} unread`)
} catch (error) {
  refuse(error)
} finally {
  await leave(customer.client, staff.client)
}
