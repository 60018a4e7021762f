// What the examples share: their settings, a stock client for one person, and one step after another.
import { EventEmitter, once } from 'node:events'
import { createClient } from '@supabase/supabase-js'
import type { RealtimeChannel, SupabaseClient, WebSocketLikeConstructor } from '@supabase/supabase-js'
import ws from 'ws'

/** A setting from the environment. */
export function setting(name: string): string {
  const value = process.env[name]
  if (value === undefined || value === '') throw new Error(`${name} is not set; .env.example says what it is`)
  return value
}

/** A stock client that acts with this token. */
export async function connect(token: string): Promise<SupabaseClient> {
  const client = createClient(setting('SUPABASE_URL'), setting('SUPABASE_ANON_KEY'), {
    accessToken: async () => token,
    // Node 22 and browsers have a WebSocket of their own. This one's types list a constructor that does not fit.
    realtime: { transport: ws as unknown as WebSocketLikeConstructor },
  })
  await client.realtime.setAuth() // so that the first join carries the token already
  return client
}

/** Somebody with a profile on Rowcast's messaging tables. */
export type Person = { id: string; name: string; token: string; client: SupabaseClient }

/** Makes the profile that goes with a token, unless it is there. */
export async function enter(name: string, token: string): Promise<Person> {
  const client = await connect(token)
  const { id } = await rpc<{ id: string }>(client, 'upsert_profile', { full_name: name })
  return { id, name, token, client }
}

/** Calls a function of the database, with named arguments and the caller's rights. */
export async function rpc<T>(client: SupabaseClient, name: string, named: Record<string, unknown> = {}): Promise<T> {
  const { data } = await client.rpc(name, named).throwOnError()
  return data as T
}

/** Asks an app's REST interface, as the bearer of this token. */
export async function request<T>(token: string, method: string, path: string, body?: object): Promise<T> {
  const headers = { apikey: setting('SUPABASE_ANON_KEY'), authorization: `Bearer ${token}` }
  const content = body && { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const answer = await fetch(setting('SUPABASE_URL') + path, { method, headers, ...content })
  if (!answer.ok) throw new Error(`${method} ${path.split('?')[0]}: ${answer.status} ${await answer.text()}`)
  return (await answer.json()) as T
}

/** Joins a channel, and waits until the rows that it asks for flow. */
export function join(channel: RealtimeChannel): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.on('system', {}, ({ extension, status, message }) => {
      if (extension === 'postgres_changes') status === 'ok' ? resolve() : reject(new Error(message))
    })
    channel.subscribe((status, error) => {
      if (status === 'CHANNEL_ERROR' || status === 'TIMED_OUT') reject(error ?? new Error(status))
    })
  })
}

/** Leaves all channels, and ends the program, which the timers of the stock client would keep for some seconds. */
export async function leave(...clients: SupabaseClient[]): Promise<never> {
  for (const client of clients) await client.removeAllChannels()
  process.exit()
}

const said = new EventEmitter()

/** Prints a line; whoever waits for it goes on. */
export function say(line: string): void {
  console.log(line)
  said.emit(`line ${line}`)
}

/** Prints why something could not be done; the program will end with a failure. */
export function refuse(error: unknown): void {
  say(`refused: ${error instanceof Error ? error.message : JSON.stringify(error)}`)
  process.exitCode = 1
}

/** Does something, and waits until this line is printed because of it. */
export async function until<T>(line: string, act: () => PromiseLike<T> | T): Promise<T> {
  const seen = once(said, `line ${line}`)
  const result = await act()
  await seen
  return result
}
