-- Lists, pages, search and catch-up.
-- Re-runnable.
--
-- Security definer: each looks only at conversations that the caller may see, and asks that once a conversation where
-- policies would ask it once a row. The text index serves no query under row level security, as its operator might
-- tell of rows that the policies hide.

create or replace function public.list_conversations(
    page_limit integer default 50,
    before timestamptz default null,
    include_archived boolean default false
) returns setof jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    most constant integer := rowcast.page_size(page_limit);
    latest constant timestamptz := coalesce(list_conversations.before, 'infinity');
begin
    if rowcast.caller_is_staff() or rowcast.caller_is_service() then
        return query
        select rowcast.conversation_json(c, own_user_id, own_customer_id)
        from public.conversations c
        where coalesce(c.last_message_at, c.created_at) < latest
            and (
                list_conversations.include_archived
                or not c.is_archived
                and not exists (
                    select
                    from public.conversation_participants p
                    where p.conversation_id = c.id
                        and p.left_at is null
                        and p.archived_at is not null
                        and (p.user_id = own_user_id or p.customer_id = own_customer_id)
                )
            )
        order by coalesce(c.last_message_at, c.created_at) desc
        limit most;
        return;
    end if;
    return query
    select rowcast.conversation_json(page, own_user_id, own_customer_id)
    from (
        select c.*
        from public.conversation_participants p
        join public.conversations c on c.id = p.conversation_id
        where p.left_at is null
            and (p.user_id = own_user_id or p.customer_id = own_customer_id)
            and coalesce(c.last_message_at, c.created_at) < latest
            and (list_conversations.include_archived or not c.is_archived and p.archived_at is null)
        order by coalesce(c.last_message_at, c.created_at) desc
        limit most
    ) page
    order by coalesce(page.last_message_at, page.created_at) desc;
end
$fn$;
comment on function public.list_conversations(integer, timestamptz, boolean) is 'The conversations that the caller sees, those with the latest message first. Made by Rowcast.';

create or replace function public.get_conversation(conversation_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    perform rowcast.require_conversation(get_conversation.conversation_id, false);
    return (
        select rowcast.conversation_json(c, rowcast.caller_user_id(), rowcast.caller_customer_id())
        from public.conversations c
        where c.id = get_conversation.conversation_id
    );
end
$fn$;
comment on function public.get_conversation(uuid) is 'One conversation. Made by Rowcast.';

create or replace function public.list_messages(
    conversation_id uuid,
    page_limit integer default 50,
    before_id uuid default null
) returns setof jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    latest timestamptz := 'infinity';
begin
    perform rowcast.require_conversation(list_messages.conversation_id, false);
    if list_messages.before_id is not null then
        select m.created_at into latest
        from public.messages m
        where m.id = list_messages.before_id and m.conversation_id = list_messages.conversation_id;
        if not found then
            raise exception using errcode = 'PT404', message = 'there is no such message';
        end if;
    end if;
    return query
    select rowcast.message_json(page.message, own_user_id, own_customer_id)
    from (
        select m as message, m.created_at
        from public.messages m
        where m.conversation_id = list_messages.conversation_id and m.created_at < latest
        order by m.created_at desc
        limit rowcast.page_size(list_messages.page_limit)
    ) page
    order by page.created_at;
end
$fn$;
comment on function public.list_messages(uuid, integer, uuid) is 'The newest messages of a conversation, or those before one, oldest first. Made by Rowcast.';

create or replace function public.get_message(message_id uuid) returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    select m.* into message from public.messages m where m.id = get_message.message_id;
    if not found or not rowcast.may_see(message.conversation_id) then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    return rowcast.message_json(message, rowcast.caller_user_id(), rowcast.caller_customer_id());
end
$fn$;
comment on function public.get_message(uuid) is 'One message. Made by Rowcast.';

create or replace function public.search_messages(
    query text,
    conversation_id uuid default null,
    page_limit integer default 20
) returns setof jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    sees_all constant boolean := rowcast.caller_is_staff() or rowcast.caller_is_service();
begin
    if octet_length(search_messages.query) > 1024 then
        raise exception using errcode = '22023', message = 'no more than 1024 bytes are searched for';
    end if;
    if search_messages.conversation_id is not null then
        perform rowcast.require_conversation(search_messages.conversation_id, false);
    end if;
    return query
    select rowcast.message_json(page.message, own_user_id, own_customer_id)
    from (
        select m as message, m.created_at
        from public.messages m
        where to_tsvector('simple'::regconfig, m.content)
                @@ websearch_to_tsquery('simple'::regconfig, search_messages.query)
            and (search_messages.conversation_id is null or m.conversation_id = search_messages.conversation_id)
            and (
                sees_all
                or m.conversation_id in (
                    select p.conversation_id
                    from public.conversation_participants p
                    where p.left_at is null and (p.user_id = own_user_id or p.customer_id = own_customer_id)
                )
            )
        order by m.created_at desc
        limit rowcast.page_size(search_messages.page_limit)
    ) page
    order by page.created_at desc;
end
$fn$;
comment on function public.search_messages(text, uuid, integer) is 'Messages with these words, newest first; "quotes", or and - as in search engines. Made by Rowcast.';

-- Times grow within a conversation in the order of commits: what is later than the last message that somebody has of one
-- is all that they miss of it. Commits of different conversations are in no order.
create or replace function public.messages_since(
    since timestamptz,
    page_limit integer default 500,
    conversation_id uuid default null
) returns setof jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    most constant integer := rowcast.page_size(page_limit);
begin
    if messages_since.conversation_id is not null then
        perform rowcast.require_conversation(messages_since.conversation_id, false);
        return query
        select rowcast.message_json(page.message, own_user_id, own_customer_id)
        from (
            select m as message, m.created_at
            from public.messages m
            where m.conversation_id = messages_since.conversation_id and m.created_at > messages_since.since
            order by m.created_at
            limit most
        ) page
        order by page.created_at;
        return;
    end if;
    if rowcast.caller_is_staff() or rowcast.caller_is_service() then
        return query
        select rowcast.message_json(m, own_user_id, own_customer_id)
        from public.messages m
        where m.created_at > messages_since.since
        order by m.created_at, m.id
        limit most;
        return;
    end if;
    return query
    select rowcast.message_json(page.message, own_user_id, own_customer_id)
    from (
        select later.message, later.created_at
        from public.conversation_participants p
        cross join lateral (
            select m as message, m.created_at
            from public.messages m
            where m.conversation_id = p.conversation_id and m.created_at > messages_since.since
            order by m.created_at
            limit most
        ) later
        where p.left_at is null and (p.user_id = own_user_id or p.customer_id = own_customer_id)
        order by later.created_at, (later.message).id
        limit most
    ) page
    order by page.created_at, (page.message).id;
end
$fn$;
comment on function public.messages_since(timestamptz, integer, uuid) is 'Messages after a moment in one conversation, or in all that the caller sees, oldest first. Made by Rowcast.';

create or replace function rowcast.page_size(page_limit integer) returns integer
language sql
immutable
security invoker
return least(greatest(coalesce(page_limit, 50), 1), 1000);
comment on function rowcast.page_size(integer) is 'How many rows a page has: between 1 and 1000. Made by Rowcast.';

revoke all on function
    public.list_conversations(integer, timestamptz, boolean), public.get_conversation(uuid),
    public.list_messages(uuid, integer, uuid), public.get_message(uuid), public.search_messages(text, uuid, integer),
    public.messages_since(timestamptz, integer, uuid), rowcast.page_size(integer)
from public;
