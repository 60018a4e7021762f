-- Typing and presence, as people say it themselves.
-- Re-runnable.
--
-- Security definer: how often and for how long is what a policy cannot say, so no policy lets anybody write these.

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
