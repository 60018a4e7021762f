-- why:   what people do: start a conversation, send, edit, react, read, type, and say that they are there.
-- locks: nothing that exists.
-- undo:  drop function (each of them);

create or replace function public.upsert_profile(
    full_name text default null,
    username text default null,
    avatar_url text default null
) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    claims constant jsonb := auth.jwt();
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    user_metadata constant jsonb := claims -> 'user_metadata';
    claimed record;
    profile jsonb;
begin
    -- The address is answered and not kept: whoever shares a conversation sees the row.
    -- What a token only suggests is not worth an error if it does not fit, or if somebody else has that name.
    select
        case when octet_length(c.full_name) between 1 and 400 then c.full_name end as full_name,
        case when octet_length(c.email) between 1 and 400 then c.email end as email,
        case when octet_length(c.role) between 1 and 100 then c.role end as role,
        case
            when octet_length(c.username) between 1 and 200
                and not exists (select from public.users u where u.username = c.username and u.id <> own_user_id)
            then c.username
        end as username,
        case
            when octet_length(c.avatar_url) between 1 and 2048 and c.avatar_url ~* '^(https?://|[^:]*($|[/?#]))'
            then c.avatar_url
        end as avatar_url
    into claimed
    from (
        select
            coalesce(
                case when own_customer_id is not null then claims ->> 'customer_name' end, user_metadata ->> 'full_name'
            ) as full_name,
            claims ->> 'email' as email,
            claims -> 'app_metadata' ->> 'role' as role,
            coalesce(user_metadata ->> 'username', user_metadata ->> 'user_name') as username,
            user_metadata ->> 'avatar_url' as avatar_url
    ) c;
    if own_customer_id is not null then
        insert into public.customers as c (id, full_name)
        values (own_customer_id, coalesce(upsert_profile.full_name, claimed.full_name))
        on conflict on constraint customers_pkey do update
        set full_name = coalesce(upsert_profile.full_name, c.full_name, excluded.full_name)
        returning jsonb_build_object(
            'id', c.id, 'kind', 'customer', 'full_name', c.full_name, 'username', null,
            'email', coalesce(claimed.email, c.email),
            'role', null, 'avatar_url', null
        ) into profile;
        return profile;
    end if;
    if own_user_id is null then
        raise exception using errcode = '22023', message = 'the token names nobody';
    end if;
    insert into public.users as u (id, full_name, username, role, avatar_url)
    values (
        own_user_id,
        coalesce(upsert_profile.full_name, claimed.full_name),
        coalesce(upsert_profile.username, claimed.username),
        claimed.role,
        coalesce(upsert_profile.avatar_url, claimed.avatar_url)
    )
    on conflict on constraint users_pkey do nothing;
    if not found then
        -- By itself, as it is a key: to set it locks the row against all who refer to it.
        update public.users u
        set username = coalesce(upsert_profile.username, claimed.username)
        where u.id = own_user_id
            and coalesce(upsert_profile.username, u.username, claimed.username) is distinct from u.username;
        -- What a trusted server has written stays where the token says nothing; but nobody is shown as staff who is not.
        update public.users u
        set full_name = coalesce(upsert_profile.full_name, u.full_name, claimed.full_name),
            role = coalesce(claimed.role, case when u.role <> 'staff' then u.role end),
            avatar_url = coalesce(upsert_profile.avatar_url, u.avatar_url, claimed.avatar_url)
        where u.id = own_user_id;
    end if;
    return (
        select jsonb_build_object(
            'id', u.id, 'kind', 'user', 'full_name', u.full_name, 'username', u.username,
            'email', coalesce(claimed.email, u.email), 'role', u.role, 'avatar_url', u.avatar_url
        )
        from public.users u
        where u.id = own_user_id
    );
end
$fn$;
comment on function public.upsert_profile(text, text, text) is 'Makes or changes the caller''s profile; null keeps what is there. Made by Rowcast.';

-- Whoever writes for the first time has a profile from then on; and whoever became staff, or is no longer, is shown so.
create or replace function rowcast.make_profile() returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
begin
    if own_user_id is not null and not exists (
            select from public.users u
            where u.id = own_user_id and coalesce(u.role = 'staff', false) = rowcast.caller_is_staff()
        )
        or own_customer_id is not null and not exists (select from public.customers c where c.id = own_customer_id)
    then
        perform public.upsert_profile();
    end if;
end
$fn$;
comment on function rowcast.make_profile() is 'Makes the caller''s profile where there is none, or where it is wrong about who is staff. Made by Rowcast.';

revoke all on function public.upsert_profile(text, text, text), rowcast.make_profile() from public;

create or replace function public.start_conversation(
    participant_ids uuid[] default '{}',
    customer_id uuid default null,
    kind text default null,
    title text default null,
    first_message text default null,
    client_message_id text default null,
    metadata jsonb default '{}'
) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    is_trusted constant boolean := rowcast.caller_is_service();
    user_ids uuid[];
    people_count integer;
    conversation public.conversations;
begin
    if num_nulls(own_user_id, own_customer_id) = 2 and (not is_trusted or first_message is not null) then
        raise exception using errcode = '22023', message = 'the token names nobody';
    end if;
    if start_conversation.customer_id is not null
        and start_conversation.customer_id is distinct from own_customer_id
        and not (is_trusted or rowcast.caller_is_staff())
    then
        raise exception using errcode = '42501', message = 'only staff talk to customers';
    end if;
    perform rowcast.make_profile();
    start_conversation.customer_id := coalesce(own_customer_id, start_conversation.customer_id);
    user_ids := array(
        select distinct id from unnest(array_append(start_conversation.participant_ids, own_user_id)) id
        where id is not null
        order by id
    );
    people_count := cardinality(user_ids) + num_nonnulls(start_conversation.customer_id);
    start_conversation.kind := coalesce(
        start_conversation.kind,
        case
            when start_conversation.customer_id is not null then 'support'
            when people_count = 2 then 'direct'
            else 'group'
        end
    );
    if start_conversation.kind not in ('direct', 'group', 'support') then
        raise exception using errcode = '22023', message = 'a conversation is direct, group or support';
    elsif start_conversation.kind = 'group' and own_customer_id is not null then
        raise exception using errcode = '42501', message = 'customers start no groups';
    elsif start_conversation.kind = 'direct' and people_count <> 2 then
        raise exception using errcode = '22023', message = 'a direct conversation is one of two people';
    elsif people_count > 1000 then
        raise exception using errcode = '22023', message = 'no more than 1000 people talk in one conversation';
    elsif jsonb_path_exists(start_conversation.metadata, '$.**{32 to last}')
        or jsonb_path_exists(
            start_conversation.metadata, '$.** ? (@.type() == "number" && (@ > 1e300 || @ < -1e300))'
        )
    then
        -- Programs do not read such JSON, and so no list that the conversation is in.
        raise exception using
            errcode = '22023', message = 'the metadata is nested too deeply, or a number in it is out of range';
    end if;
    if exists (
        select from unnest(user_ids) wanted (id) where not exists (select from public.users u where u.id = wanted.id)
    ) or start_conversation.customer_id is not null and not exists (
        select from public.customers c where c.id = start_conversation.customer_id
    ) then
        raise exception using errcode = 'PT404', message = 'there is no such person';
    end if;

    if start_conversation.first_message is not null and start_conversation.client_message_id is not null then
        -- The same call again gives the conversation of the first, whatever its kind.
        perform pg_advisory_xact_lock(hashtextextended(
            concat('rowcast start ', own_user_id, own_customer_id, ' ', start_conversation.client_message_id), 0
        ));
        select c.* into conversation
        from public.messages m
        join public.conversations c on c.id = m.conversation_id
        where m.client_message_id = start_conversation.client_message_id
            and (m.sender_id = own_user_id or m.sender_customer_id = own_customer_id);
        if found and rowcast.may_see(conversation.id) then
            return rowcast.conversation_json(conversation, own_user_id, own_customer_id);
        end if;
    end if;

    if start_conversation.kind = 'direct' then
        perform pg_advisory_xact_lock(hashtextextended(
            concat('rowcast direct ', user_ids, ' ', start_conversation.customer_id), 0
        ));
        select c.* into conversation
        from public.conversation_participants one
        join public.conversation_participants other on other.conversation_id = one.conversation_id
        join public.conversations c on c.id = one.conversation_id
        where c.kind = 'direct'
            and one.user_id = user_ids[1]
            and one.left_at is null
            and (other.user_id = user_ids[2] or other.customer_id = start_conversation.customer_id)
            and other.left_at is null
        order by c.created_at, c.id
        limit 1;
    end if;

    if conversation.id is null then
        perform rowcast.spend('changes_per_minute', own_user_id, own_customer_id, null);
        insert into public.conversations as c (kind, title, participants, customer_id, created_by, metadata)
        values (
            start_conversation.kind,
            start_conversation.title,
            array(select id::text from unnest(array_append(user_ids, start_conversation.customer_id)) id where id is not null order by 1),
            start_conversation.customer_id,
            own_user_id,
            coalesce(start_conversation.metadata, '{}')
        )
        returning c.* into conversation;
        insert into public.conversation_participants (conversation_id, user_id)
        select conversation.id, id from unnest(user_ids) id;
        if start_conversation.customer_id is not null then
            insert into public.conversation_participants (conversation_id, customer_id)
            values (conversation.id, start_conversation.customer_id);
        end if;
    end if;

    if start_conversation.first_message is not null then
        perform public.send_message(
            conversation_id => conversation.id,
            content => start_conversation.first_message,
            client_message_id => start_conversation.client_message_id
        );
        select c.* into conversation from public.conversations c where c.id = conversation.id;
    end if;
    return rowcast.conversation_json(conversation, own_user_id, own_customer_id);
end
$fn$;
comment on function public.start_conversation(uuid[], uuid, text, text, text, text, jsonb) is 'Starts a conversation, or finds the direct one of the same two again; with a first message if one is given. Made by Rowcast.';

create or replace function public.leave_conversation(conversation_id uuid) returns boolean
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    has_left boolean;
begin
    perform rowcast.require_conversation(leave_conversation.conversation_id, false);
    -- In the order in which everybody locks: the conversation, then who takes part.
    perform from public.conversations c where c.id = leave_conversation.conversation_id for no key update;
    update public.conversation_participants p
    set left_at = now()
    where p.conversation_id = leave_conversation.conversation_id
        and p.left_at is null
        and (p.user_id = own_user_id or p.customer_id = own_customer_id);
    has_left := found;
    delete from public.message_typing_indicators t
    where t.conversation_id = leave_conversation.conversation_id
        and (t.user_id = own_user_id or t.customer_id = own_customer_id);
    return has_left;
end
$fn$;
comment on function public.leave_conversation(uuid) is 'Takes the caller out of a conversation; false if they did not take part. Made by Rowcast.';

create or replace function public.add_participant(conversation_id uuid, user_id uuid) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    conversation public.conversations;
begin
    perform rowcast.require_conversation(add_participant.conversation_id, false);
    select c.* into conversation
    from public.conversations c
    where c.id = add_participant.conversation_id
    for no key update;
    if conversation.kind = 'direct' then
        raise exception using errcode = '42501', message = 'nobody is added to a direct conversation';
    elsif rowcast.caller_customer_id() is not null then
        raise exception using errcode = '42501', message = 'customers add nobody';
    elsif cardinality(conversation.participants) >= 1000 then
        raise exception using errcode = '22023', message = 'no more than 1000 people talk in one conversation';
    elsif not exists (select from public.users u where u.id = add_participant.user_id) then
        raise exception using errcode = 'PT404', message = 'there is no such person';
    end if;
    insert into public.conversation_participants as p (conversation_id, user_id)
    values (add_participant.conversation_id, add_participant.user_id)
    on conflict on constraint conversation_participants_user_key do update
    set left_at = null, joined_at = now(), archived_at = null
    where p.left_at is not null;
    select c.* into conversation from public.conversations c where c.id = add_participant.conversation_id;
    return rowcast.conversation_json(conversation, rowcast.caller_user_id(), rowcast.caller_customer_id());
end
$fn$;
comment on function public.add_participant(uuid, uuid) is 'Adds a user to a group or support conversation, or brings one back who has left. Made by Rowcast.';

create or replace function public.archive_conversation(conversation_id uuid, is_archived boolean default true)
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    wanted constant boolean := coalesce(archive_conversation.is_archived, true);
    conversation public.conversations;
begin
    perform rowcast.require_conversation(archive_conversation.conversation_id, false);
    select c.* into conversation from public.conversations c where c.id = archive_conversation.conversation_id;
    if conversation.kind = 'direct' and num_nonnulls(own_user_id, own_customer_id) > 0 then
        update public.conversation_participants p
        set archived_at = case when wanted then coalesce(p.archived_at, now()) end
        where p.conversation_id = archive_conversation.conversation_id
            and p.left_at is null
            and (p.user_id = own_user_id or p.customer_id = own_customer_id);
        if not found then
            raise exception using
                errcode = '42501', message = 'only those who take part archive a direct conversation, each for themselves';
        end if;
    else
        update public.conversations c
        set is_archived = wanted
        where c.id = archive_conversation.conversation_id
        returning c.* into conversation;
    end if;
    return rowcast.conversation_json(conversation, own_user_id, own_customer_id);
end
$fn$;
comment on function public.archive_conversation(uuid, boolean) is 'Archives a conversation for all who take part, a direct one for the caller alone; or brings it back. Made by Rowcast.';

revoke all on function
    public.start_conversation(uuid[], uuid, text, text, text, text, jsonb), public.leave_conversation(uuid),
    public.add_participant(uuid, uuid), public.archive_conversation(uuid, boolean)
from public;

create or replace function public.send_message(
    conversation_id uuid,
    content text,
    message_type text default 'text',
    reply_to_id uuid default null,
    attachments jsonb default '[]',
    client_message_id text default null,
    receiver_id uuid default null
) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    message public.messages;
begin
    select * into person from rowcast.person(null, null);
    perform rowcast.require_conversation(send_message.conversation_id, true);
    -- A second look is for the call that came at the same moment, and has committed by then.
    for attempt in 1..2 loop
        if send_message.client_message_id is not null then
            select m.* into message
            from public.messages m
            where m.client_message_id = send_message.client_message_id
                and (m.sender_id = person.user_id or m.sender_customer_id = person.customer_id);
            if found then
                if message.conversation_id <> send_message.conversation_id then
                    raise exception using
                        errcode = '22023', message = 'this client_message_id is one of a message in another conversation';
                end if;
                return message;
            end if;
        end if;
        if attempt = 1 then
            insert into public.messages as m (
                conversation_id, sender_id, sender_customer_id, receiver_id, content, message_type, reply_to_id,
                attachments, client_message_id
            )
            values (
                send_message.conversation_id,
                person.user_id,
                person.customer_id,
                send_message.receiver_id,
                coalesce(send_message.content, ''),
                coalesce(send_message.message_type, 'text'),
                send_message.reply_to_id,
                coalesce(send_message.attachments, '[]'),
                send_message.client_message_id
            )
            on conflict do nothing
            returning m.* into message;
            if found then
                return message;
            end if;
        end if;
    end loop;
    raise exception using
        errcode = '22023', message = 'this client_message_id is one of a message that cannot be seen any more';
end
$fn$;
comment on function public.send_message(uuid, text, text, uuid, jsonb, text, uuid) is 'Sends a message; with the same client_message_id once only. Made by Rowcast.';

create or replace function public.edit_message(message_id uuid, content text) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    message := rowcast.own_message(edit_message.message_id);
    if message.deleted_at is null then
        update public.messages m
        set content = coalesce(edit_message.content, '')
        where m.id = edit_message.message_id and m.deleted_at is null
        returning m.* into message;
        if found then
            return message;
        end if;
    end if;
    raise exception using errcode = '22023', message = 'the message has been deleted';
end
$fn$;
comment on function public.edit_message(uuid, text) is 'Gives a message of the caller''s another content. Made by Rowcast.';

create or replace function public.delete_message(message_id uuid) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    message := rowcast.own_message(delete_message.message_id);
    if message.deleted_at is null then
        update public.messages m
        set deleted_at = now()
        where m.id = delete_message.message_id and m.deleted_at is null;
        select m.* into message from public.messages m where m.id = delete_message.message_id;
    end if;
    return message;
end
$fn$;
comment on function public.delete_message(uuid) is 'Deletes a message of the caller''s: its row stays, without content. Made by Rowcast.';

create or replace function rowcast.own_message(message_id uuid) returns public.messages
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    select m.* into message from public.messages m where m.id = own_message.message_id;
    if not found then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    if (
        message.sender_id = rowcast.caller_user_id() or message.sender_customer_id = rowcast.caller_customer_id()
    ) is not true and not rowcast.caller_is_service() then
        raise exception using errcode = '42501', message = 'only its sender may change a message';
    end if;
    return message;
end
$fn$;
comment on function rowcast.own_message(uuid) is 'A message that the caller may change, or a refusal. Made by Rowcast.';

create or replace function public.add_message_reaction(message_id uuid, emoji text) returns public.message_reactions
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    reaction public.message_reactions;
begin
    select * into person from rowcast.person(null, null);
    insert into public.message_reactions as r (message_id, user_id, customer_id, emoji)
    values (
        add_message_reaction.message_id, person.user_id, person.customer_id, add_message_reaction.emoji
    )
    on conflict do nothing
    returning r.* into reaction;
    if not found then
        select r.* into reaction
        from public.message_reactions r
        where r.message_id = add_message_reaction.message_id
            and r.emoji = add_message_reaction.emoji
            and (r.user_id = person.user_id or r.customer_id = person.customer_id);
    end if;
    return reaction;
end
$fn$;
comment on function public.add_message_reaction(uuid, text) is 'Reacts to a message; the same reaction twice is one. Made by Rowcast.';

create or replace function public.remove_message_reaction(message_id uuid, emoji text) returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
begin
    select * into person from rowcast.person(null, null);
    if not exists (select from public.messages m where m.id = remove_message_reaction.message_id) then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    delete from public.message_reactions r
    where r.message_id = remove_message_reaction.message_id
        and r.emoji = remove_message_reaction.emoji
        and (r.user_id = person.user_id or r.customer_id = person.customer_id);
    return found;
end
$fn$;
comment on function public.remove_message_reaction(uuid, text) is 'Takes a reaction of the caller''s back; false if there was none. Made by Rowcast.';

revoke all on function
    public.send_message(uuid, text, text, uuid, jsonb, text, uuid), public.edit_message(uuid, text),
    public.delete_message(uuid), rowcast.own_message(uuid), public.add_message_reaction(uuid, text),
    public.remove_message_reaction(uuid, text)
from public;

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

create or replace function public.update_typing_indicator(
    conversation_id uuid,
    user_id uuid default null,
    customer_id uuid default null,
    is_typing boolean default true,
    expires_in_seconds integer default 5
) returns public.message_typing_indicators
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    most constant integer := (
        select s.value from rowcast.messaging_settings s where s.name = 'typing_expiry_seconds_max'
    );
    indicator public.message_typing_indicators;
begin
    select * into person from rowcast.person(update_typing_indicator.user_id, update_typing_indicator.customer_id);
    perform rowcast.require_conversation(update_typing_indicator.conversation_id, true);
    if not coalesce(update_typing_indicator.is_typing, true) then
        delete from public.message_typing_indicators t
        where t.conversation_id = update_typing_indicator.conversation_id
            and (t.user_id = person.user_id or t.customer_id = person.customer_id);
        return null;
    end if;
    if expires_in_seconds < 1 then
        raise exception using errcode = '22023', message = 'typing lasts a second at least';
    end if;
    perform rowcast.make_profile();
    expires_in_seconds := least(coalesce(expires_in_seconds, 5), nullif(most, 0));
    select t.* into indicator
    from public.message_typing_indicators t
    where t.conversation_id = update_typing_indicator.conversation_id
        and (t.user_id = person.user_id or t.customer_id = person.customer_id)
        and t.is_typing
        and t.expires_at > now();
    -- Only a start counts. To go on costs a write a second at most: less than that moves nothing.
    if not found then
        perform rowcast.spend(
            'typing_per_minute', person.user_id, person.customer_id, update_typing_indicator.conversation_id
        );
    elsif indicator.expires_at
            > now() + make_interval(secs => expires_in_seconds - least(1, expires_in_seconds * 0.2)) then
        return indicator;
    end if;
    for attempt in 1..2 loop
        update public.message_typing_indicators t
        set is_typing = true,
            started_at = case when t.expires_at > now() then t.started_at else now() end,
            expires_at = greatest(t.expires_at, now() + make_interval(secs => expires_in_seconds)),
            updated_at = now()
        where t.conversation_id = update_typing_indicator.conversation_id
            and (t.user_id = person.user_id or t.customer_id = person.customer_id)
        returning t.* into indicator;
        exit when found;
        insert into public.message_typing_indicators as t (conversation_id, user_id, customer_id, expires_at)
        values (
            update_typing_indicator.conversation_id,
            person.user_id,
            person.customer_id,
            now() + make_interval(secs => expires_in_seconds)
        )
        on conflict do nothing
        returning t.* into indicator;
        exit when found;
    end loop;
    return indicator;
end
$fn$;
comment on function public.update_typing_indicator(uuid, uuid, uuid, boolean, integer) is 'Says that somebody types, or types no longer. Made by Rowcast.';

create or replace function public.update_user_presence(
    user_id uuid default null,
    customer_id uuid default null,
    status text default 'online',
    metadata jsonb default '{}'
) returns public.user_presence
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    presence public.user_presence;
begin
    select * into person from rowcast.person(update_user_presence.user_id, update_user_presence.customer_id);
    perform rowcast.make_profile();
    perform rowcast.spend('presence_per_minute', person.user_id, person.customer_id, null);
    for attempt in 1..2 loop
        update public.user_presence p
        set status = coalesce(update_user_presence.status, 'online'),
            metadata = coalesce(update_user_presence.metadata, '{}'),
            last_seen_at = now(),
            active_at = case when update_user_presence.status in ('away', 'offline') then p.active_at else now() end,
            expires_at = now() + interval '60 seconds',
            is_automatic = false,
            updated_at = clock_timestamp()
        where p.user_id = person.user_id or p.customer_id = person.customer_id
        returning p.* into presence;
        exit when found;
        insert into public.user_presence as p
            (user_id, customer_id, status, metadata, active_at, expires_at)
        values (
            person.user_id,
            person.customer_id,
            coalesce(update_user_presence.status, 'online'),
            coalesce(update_user_presence.metadata, '{}'),
            case when update_user_presence.status in ('away', 'offline') then null else now() end,
            now() + interval '60 seconds'
        )
        on conflict do nothing
        returning p.* into presence;
        exit when found;
    end loop;
    return presence;
end
$fn$;
comment on function public.update_user_presence(uuid, uuid, text, jsonb) is 'Says that somebody is there, and how; to be repeated every 30 seconds. Made by Rowcast.';

create or replace function public.cleanup_expired_typing_indicators() returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    return rowcast.expire_typing();
end
$fn$;
comment on function public.cleanup_expired_typing_indicators() is 'Removes typing indicators whose time is over, and says how many. Made by Rowcast.';

-- Security definer: begins at the caller's own conversations, where the policy would be asked about all who are there.
create or replace function public.list_presence() returns setof public.user_presence
language sql
stable
security definer
set search_path = ''
begin atomic
    select there.*
    from (
        select distinct other.user_id, other.customer_id
        from public.conversation_participants other
        where other.conversation_id = any (array(select rowcast.own_conversation_ids())) and other.left_at is null
    ) person
    cross join lateral (
        select p.*
        from public.user_presence p
        where p.user_id = person.user_id or p.customer_id = person.customer_id
        limit 1
    ) there
    where there.status <> 'offline'
        and (there.user_id = (select rowcast.caller_user_id())) is not true
        and (there.customer_id = (select rowcast.caller_customer_id())) is not true
    order by there.last_seen_at desc, there.id
    limit 1000;
end;
comment on function public.list_presence() is 'Who is there of those who share a conversation with the caller, whoever was seen last first. Made by Rowcast.';

revoke all on function
    public.update_typing_indicator(uuid, uuid, uuid, boolean, integer),
    public.update_user_presence(uuid, uuid, text, jsonb), public.cleanup_expired_typing_indicators(),
    public.list_presence()
from public;

create or replace function public.get_notification_preferences() returns jsonb
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    preferences public.notification_preferences;
begin
    if rowcast.caller_user_id() is null then
        raise exception using errcode = '42501', message = 'only users have preferences';
    end if;
    select p.* into preferences
    from public.notification_preferences p
    where p.user_id = rowcast.caller_user_id();
    if not found then
        preferences.email := true;
        preferences.push := true;
        preferences.in_app := true;
        preferences.new_message := true;
        preferences.mentions := true;
        preferences.time_zone := 'UTC';
    end if;
    return to_jsonb(preferences) - '{user_id,created_at,updated_at}'::text[];
end
$fn$;
comment on function public.get_notification_preferences() is 'The caller''s notification preferences. Made by Rowcast.';

create or replace function public.update_notification_preferences(changes jsonb) returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    current_ones constant jsonb := public.get_notification_preferences();
    wanted public.notification_preferences;
begin
    if jsonb_typeof(changes) is distinct from 'object' or changes - array(select jsonb_object_keys(current_ones)) <> '{}' then
        raise exception using
            errcode = '22023',
            message = 'changes are an object of email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone';
    end if;
    wanted := jsonb_populate_record(null::public.notification_preferences, current_ones || changes);
    if num_nulls(wanted.email, wanted.push, wanted.in_app, wanted.new_message, wanted.mentions, wanted.time_zone) > 0 then
        raise exception using errcode = '22023', message = 'only quiet hours may be null';
    end if;
    -- A zone that Postgres does not know is refused here (22023).
    perform now() at time zone wanted.time_zone;
    perform rowcast.make_profile();
    insert into public.notification_preferences as p (
        user_id, email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone
    )
    values (
        rowcast.caller_user_id(), wanted.email, wanted.push, wanted.in_app, wanted.new_message, wanted.mentions,
        wanted.quiet_hours_start, wanted.quiet_hours_end, wanted.time_zone
    )
    on conflict on constraint notification_preferences_pkey do update
    set email = excluded.email,
        push = excluded.push,
        in_app = excluded.in_app,
        new_message = excluded.new_message,
        mentions = excluded.mentions,
        quiet_hours_start = excluded.quiet_hours_start,
        quiet_hours_end = excluded.quiet_hours_end,
        time_zone = excluded.time_zone;
    return public.get_notification_preferences();
end
$fn$;
comment on function public.update_notification_preferences(jsonb) is 'Changes some of the caller''s notification preferences. Made by Rowcast.';

revoke all on function public.get_notification_preferences(), public.update_notification_preferences(jsonb) from public;
