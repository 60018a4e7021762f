-- What has been read and delivered, and how much is unread.
-- Re-runnable.

create or replace function public.mark_message_as_read(
    message_id uuid,
    user_id uuid default null,
    customer_id uuid default null
) returns public.message_read_receipts
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    receipt public.message_read_receipts;
begin
    select * into person from rowcast.person(mark_message_as_read.user_id, mark_message_as_read.customer_id);
    for attempt in 1..2 loop
        select r.* into receipt
        from public.message_read_receipts r
        where r.message_id = mark_message_as_read.message_id
            and (r.read_by_user_id = person.user_id or r.read_by_customer_id = person.customer_id);
        exit when found;
        insert into public.message_read_receipts as r (message_id, read_by_user_id, read_by_customer_id)
        values (mark_message_as_read.message_id, person.user_id, person.customer_id)
        on conflict do nothing
        returning r.* into receipt;
        exit when found;
    end loop;
    return receipt;
end
$fn$;
comment on function public.mark_message_as_read(uuid, uuid, uuid) is 'Notes that a message of somebody else has been read, once. Made by Rowcast.';

-- Security definer: what the caller sees is decided once for all of the messages, and not again for each receipt.
create or replace function public.mark_messages_as_read(message_ids uuid[]) returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    sees_all constant boolean := rowcast.caller_is_staff() or rowcast.caller_is_service();
    read_count integer;
begin
    select * into person from rowcast.person(null, null);
    if cardinality(message_ids) > 1000 then
        raise exception using errcode = '22023', message = 'no more than 1000 messages in one call';
    end if;
    insert into public.message_read_receipts (message_id, conversation_id, read_by_user_id, read_by_customer_id)
    select m.id, m.conversation_id, person.user_id, person.customer_id
    from unnest(message_ids) given (id)
    -- One by one, by the key, however many there are.
    cross join lateral (select * from public.messages one where one.id = given.id offset 0) m
    where (sees_all or m.conversation_id in (select rowcast.own_conversation_ids()))
        and (m.sender_id = person.user_id or m.sender_customer_id = person.customer_id) is not true
    order by m.id
    on conflict do nothing;
    get diagnostics read_count = row_count;
    return read_count;
end
$fn$;
comment on function public.mark_messages_as_read(uuid[]) is 'Notes that messages have been read; own ones, and such as the caller does not see, are passed over. Made by Rowcast.';

-- Security definer: see mark_messages_as_read().
create or replace function public.mark_conversation_as_read(conversation_id uuid) returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    read_count integer;
begin
    select * into person from rowcast.person(null, null);
    perform rowcast.require_conversation(mark_conversation_as_read.conversation_id, false);
    -- What somebody else reads for the same person meanwhile is chosen here, too: fewer than the most are the rest.
    with unread as materialized (
        select m.id, m.conversation_id
        from public.messages m
        where m.conversation_id = mark_conversation_as_read.conversation_id
            -- What stands before is read.
            and m.created_at > coalesce(
                (
                    select p.last_read_at
                    from public.conversation_participants p
                    where p.conversation_id = mark_conversation_as_read.conversation_id
                        and p.left_at is null
                        and (p.user_id = person.user_id or p.customer_id = person.customer_id)
                ),
                '-infinity'
            )
            and m.deleted_at is null
            and (m.sender_id = person.user_id or m.sender_customer_id = person.customer_id) is not true
            and not exists (
                select from public.message_read_receipts r
                where r.message_id = m.id
                    and (r.read_by_user_id = person.user_id or r.read_by_customer_id = person.customer_id)
            )
        order by m.created_at
        -- As many as are written well within the time that a statement has.
        limit 10000
    ), made as (
        insert into public.message_read_receipts (message_id, conversation_id, read_by_user_id, read_by_customer_id)
        select unread.id, unread.conversation_id, person.user_id, person.customer_id
        from unread
        order by unread.id
        on conflict do nothing
    )
    select count(*) into read_count from unread;
    return read_count;
end
$fn$;
comment on function public.mark_conversation_as_read(uuid) is 'Notes that everything in a conversation has been read; of more than 10,000 messages the oldest, so that it is called again. Made by Rowcast.';

-- Security definer: deliveries are nobody's to write directly.
create or replace function public.mark_messages_as_delivered(message_ids uuid[]) returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    delivered_count integer;
begin
    select * into person from rowcast.person(null, null);
    if cardinality(message_ids) > 1000 then
        raise exception using errcode = '22023', message = 'no more than 1000 messages in one call';
    end if;
    update public.message_delivery_status d
    set status = 'delivered'
    where d.id in (
        select own.id
        from public.message_delivery_status own
        where own.message_id = any (message_ids)
            and own.recipient_id = coalesce(person.user_id, person.customer_id)
            and own.recipient_type = case when person.customer_id is null then 'staff' else 'customer' end
            and own.status in ('sent', 'failed')
            and rowcast.takes_part(own.conversation_id)
        -- In the order in which everybody locks deliveries.
        order by own.message_id
        for no key update
    );
    get diagnostics delivered_count = row_count;
    return delivered_count;
end
$fn$;
comment on function public.mark_messages_as_delivered(uuid[]) is 'Notes that messages have reached the caller. Made by Rowcast.';

-- Security definer: it counts within conversations that the person takes part in, and would otherwise ask a policy for
-- each message.
create or replace function public.get_unread_message_count(user_id uuid default null, customer_id uuid default null)
returns integer
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
begin
    select * into person from rowcast.person(get_unread_message_count.user_id, get_unread_message_count.customer_id);
    return (
        select coalesce(sum(counted.unread_count), 0)::integer
        from rowcast.unread_counts(person.user_id, person.customer_id) counted
    );
end
$fn$;
comment on function public.get_unread_message_count(uuid, uuid) is 'How many messages of others somebody has not read, in conversations that are theirs to read. Made by Rowcast.';

-- Security definer: see get_unread_message_count().
create or replace function public.get_unread_counts() returns table (conversation_id uuid, unread_count integer)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
begin
    select * into person from rowcast.person(null, null);
    return query
    select counted.conversation_id, counted.unread_count
    from rowcast.unread_counts(person.user_id, person.customer_id) counted;
end
$fn$;
comment on function public.get_unread_counts() is 'The caller''s conversations with something unread, and how much. Made by Rowcast.';

revoke all on function
    public.mark_message_as_read(uuid, uuid, uuid), public.mark_messages_as_read(uuid[]),
    public.mark_conversation_as_read(uuid), public.mark_messages_as_delivered(uuid[]),
    public.get_unread_message_count(uuid, uuid), public.get_unread_counts()
from public;
