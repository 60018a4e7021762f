-- Starting, leaving, joining and archiving conversations.
-- Re-runnable.
--
-- Those that are security definer write participations, which no policy lets anybody write.

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
