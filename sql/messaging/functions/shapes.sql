-- Messages and conversations as JSON, as every function that reads them gives them.
-- Re-runnable.
--
-- Security definer, and for those functions alone, which have decided that the caller sees the conversation: everything
-- here belongs to one conversation, and its policies would be asked once for each row of it.

create or replace function rowcast.message_json(message public.messages, user_id uuid, customer_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    reactions jsonb;
    read_by jsonb;
    status text;
begin
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'user_id', r.user_id, 'customer_id', r.customer_id, 'emoji', r.emoji, 'created_at', r.created_at
            )
            order by r.created_at, r.id
        ),
        '[]'
    ) into reactions
    from public.message_reactions r
    where r.message_id = message.id;

    select coalesce(
        jsonb_agg(
            jsonb_build_object('user_id', r.read_by_user_id, 'customer_id', r.read_by_customer_id, 'read_at', r.read_at)
            order by r.read_at, r.id
        ),
        '[]'
    ) into read_by
    from public.message_read_receipts r
    where r.message_id = message.id;

    if message.sender_id = message_json.user_id or message.sender_customer_id = message_json.customer_id then
        select d.status into status
        from public.message_delivery_status d
        where d.message_id = message.id
        order by array_position('{failed,sent,delivered,read}', d.status)
        limit 1;
    end if;

    return to_jsonb(message) - 'inserted_in'
        || jsonb_build_object('reactions', reactions, 'read_by', read_by, 'status', status);
end
$fn$;
comment on function rowcast.message_json(public.messages, uuid, uuid) is 'A message with its reactions and readers, and for its sender how far it has come. Made by Rowcast.';

-- What is unread stands after last_read_at, so this looks at little.
create or replace function rowcast.unread_count(participant public.conversation_participants) returns integer
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select count(*)::integer
    from public.messages m
    where m.conversation_id = participant.conversation_id
        and m.created_at > coalesce(participant.last_read_at, '-infinity')
        and m.deleted_at is null
        and (m.sender_id = participant.user_id or m.sender_customer_id = participant.customer_id) is not true
        and not exists (
            select from public.message_read_receipts r
            where r.message_id = m.id
                and (r.read_by_user_id = participant.user_id or r.read_by_customer_id = participant.customer_id)
        )
$fn$;
comment on function rowcast.unread_count(public.conversation_participants) is 'How many messages of others somebody who takes part has not read. Made by Rowcast.';

-- Staff read support without taking part, so they have read nothing of it but what they have a receipt of. What is
-- archived waits for nobody.
create or replace function rowcast.support_reader(conversation public.conversations)
returns public.conversation_participants
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select p
    from pg_catalog.jsonb_populate_record(
        null::public.conversation_participants,
        pg_catalog.jsonb_build_object('conversation_id', conversation.id, 'user_id', rowcast.caller_user_id())
    ) p
    where conversation.kind = 'support'
        and not conversation.is_archived
        and rowcast.caller_is_staff()
        and not exists (
            select from public.conversation_participants taking_part
            where taking_part.conversation_id = conversation.id
                and taking_part.user_id = rowcast.caller_user_id()
                and taking_part.left_at is null
        )
$fn$;
comment on function rowcast.support_reader(public.conversations) is 'The caller as somebody who reads a conversation of support as staff, without taking part; null for others. Made by Rowcast.';

-- In conversations that somebody takes part in, and if they are the caller and staff, in those of support.
create or replace function rowcast.unread_counts(user_id uuid, customer_id uuid)
returns table (conversation_id uuid, unread_count integer)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select counted.conversation_id, counted.unread_count
    from (
        select p.conversation_id, rowcast.unread_count(p) as unread_count
        from public.conversation_participants p
        where p.left_at is null
            and (p.user_id = unread_counts.user_id or p.customer_id = unread_counts.customer_id)
        union all
        select c.id, rowcast.unread_count(rowcast.support_reader(c))
        from public.conversations c
        where c.kind = 'support'
            and not c.is_archived
            and rowcast.caller_is_staff()
            and unread_counts.user_id = rowcast.caller_user_id()
        -- Counted once, and not again for the condition.
        offset 0
    ) counted
    where counted.unread_count > 0
$fn$;
comment on function rowcast.unread_counts(uuid, uuid) is 'The conversations that are somebody''s to read with something unread, and how much. Made by Rowcast.';

create or replace function rowcast.conversation_json(conversation public.conversations, user_id uuid, customer_id uuid)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    participants jsonb;
    last_message jsonb;
    unread_count integer;
    archived_at timestamptz;
begin
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'user_id', p.user_id,
                'customer_id', p.customer_id,
                'name', coalesce(u.full_name, u.username, c.full_name),
                'role', p.role,
                'joined_at', p.joined_at,
                'last_read_at', p.last_read_at,
                'status', coalesce(s.status, 'offline'),
                'last_seen_at', s.last_seen_at
            )
            order by p.joined_at, p.id
        ),
        '[]'
    ) into participants
    from public.conversation_participants p
    left join public.users u on u.id = p.user_id
    left join public.customers c on c.id = p.customer_id
    left join lateral (
        select s.status, s.last_seen_at from public.user_presence s where s.user_id = p.user_id
        union all
        select s.status, s.last_seen_at from public.user_presence s where s.customer_id = p.customer_id
    ) s on true
    where p.conversation_id = conversation.id and p.left_at is null;

    select rowcast.message_json(m, conversation_json.user_id, conversation_json.customer_id) into last_message
    from public.messages m
    where m.id = conversation.last_message_id;

    select rowcast.unread_count(p), p.archived_at into unread_count, archived_at
    from public.conversation_participants p
    where p.conversation_id = conversation.id
        and p.left_at is null
        and (p.user_id = conversation_json.user_id or p.customer_id = conversation_json.customer_id);
    unread_count := coalesce(unread_count, rowcast.unread_count(rowcast.support_reader(conversation)));

    return jsonb_build_object(
        'id', conversation.id,
        'kind', conversation.kind,
        'title', conversation.title,
        'participants', participants,
        'customer_id', conversation.customer_id,
        'created_by', conversation.created_by,
        'last_message', last_message,
        'last_message_at', conversation.last_message_at,
        'unread_count', unread_count,
        'is_archived', conversation.is_archived or archived_at is not null,
        'metadata', conversation.metadata,
        'created_at', conversation.created_at,
        'updated_at', conversation.updated_at
    );
end
$fn$;
comment on function rowcast.conversation_json(public.conversations, uuid, uuid) is 'A conversation with those who take part, its last message, and what the caller has not read. Made by Rowcast.';

revoke all on function
    rowcast.message_json(public.messages, uuid, uuid), rowcast.unread_count(public.conversation_participants),
    rowcast.support_reader(public.conversations), rowcast.unread_counts(uuid, uuid),
    rowcast.conversation_json(public.conversations, uuid, uuid)
from public;
