-- What the server keeps up: typing that is over, who is connected, and what has been delivered.
-- Re-runnable.
--
-- Security definer: the role that runs Rowcast needs no rights on the tables, only on these. Nobody's token reaches them.

create or replace function rowcast.expire_typing() returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    moment constant timestamptz := clock_timestamp();
    removed_count integer;
begin
    -- What somebody is changing at this moment is left for the next time.
    delete from public.message_typing_indicators t
    where t.id = any (
        array(
            select due.id
            from public.message_typing_indicators due
            where due.expires_at <= moment
            for update skip locked
        )
    );
    get diagnostics removed_count = row_count;
    delete from rowcast.messaging_rates r
    where r.ctid = any (
        array(
            select old.ctid
            from rowcast.messaging_rates old
            where old.started_at < moment - interval '1 minute'
            for update skip locked
        )
    );
    return removed_count;
end
$fn$;
comment on function rowcast.expire_typing() is 'Removes typing indicators whose time is over, and says how many; and rates that count no longer. Made by Rowcast.';

create or replace function rowcast.next_typing_expiry() returns timestamptz
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select min(t.expires_at) from public.message_typing_indicators t
$fn$;
comment on function rowcast.next_typing_expiry() is 'When the next typing indicator is over, or null. Made by Rowcast.';

create or replace function rowcast.touch_presence(
    user_ids uuid[],
    customer_ids uuid[],
    active_at timestamptz[],
    lease_seconds integer,
    idle_seconds integer default 300
) returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    lease_until constant timestamptz := now() + make_interval(secs => lease_seconds);
    active_since constant timestamptz := now() - make_interval(secs => idle_seconds);
    known constant uuid[] := array(
        select u.id from public.users u where u.id = any (touch_presence.user_ids) for key share skip locked
    ) || array(
        select c.id from public.customers c where c.id = any (touch_presence.customer_ids) for key share skip locked
    );
    mine uuid[];
begin
    insert into public.user_presence
        (user_id, customer_id, status, active_at, expires_at, is_automatic)
    select
        connected.user_id,
        connected.customer_id,
        case when connected.active_at > active_since then 'online' else 'away' end,
        connected.active_at,
        lease_until,
        true
    from (
        select t.user_id, t.customer_id, max(t.active_at) as active_at
        from unnest(touch_presence.user_ids, touch_presence.customer_ids, touch_presence.active_at)
            t (user_id, customer_id, active_at)
        group by t.user_id, t.customer_id
    ) connected
    -- Whoever has no profile is nobody's to see, and one that is being changed has the next renewal.
    where coalesce(connected.user_id, connected.customer_id) = any (known)
        and not exists (
            select from public.user_presence p
            where p.user_id = connected.user_id or p.customer_id = connected.customer_id
        )
    order by coalesce(connected.user_id, connected.customer_id)
    on conflict do nothing;

    -- Whose row somebody else holds has the next renewal: one long transaction must not end everybody's lease.
    mine := array(
        select p.id
        from public.user_presence p
        where p.user_id = any (touch_presence.user_ids) or p.customer_id = any (touch_presence.customer_ids)
        order by p.id
        for no key update skip locked
    );
    update public.user_presence p
    set status = case
            when (p.status = 'offline' or p.status = 'away' and p.is_automatic)
                and greatest(p.active_at, connected.active_at) > active_since
            then 'online'
            -- Whose lease was over although they are connected.
            when p.status = 'offline' and p.is_automatic then 'away'
            else p.status
        end,
        is_automatic = p.is_automatic or (
            (p.status = 'offline' or p.status = 'away' and p.is_automatic)
            and greatest(p.active_at, connected.active_at) > active_since
        ),
        active_at = greatest(p.active_at, connected.active_at),
        last_seen_at = now(),
        expires_at = greatest(p.expires_at, lease_until),
        -- News for whoever has missed the last.
        updated_at = case
            when p.updated_at < now() - interval '1 minute' then clock_timestamp() else p.updated_at
        end
    from (
        select known.id, max(t.active_at) as active_at
        from unnest(touch_presence.user_ids, touch_presence.active_at) t (user_id, active_at)
        join public.user_presence known on known.user_id = t.user_id
        group by known.id
        union all
        select known.id, max(t.active_at)
        from unnest(touch_presence.customer_ids, touch_presence.active_at) t (customer_id, active_at)
        join public.user_presence known on known.customer_id = t.customer_id
        group by known.id
    ) connected
    where p.id = connected.id
        and p.id = any (mine)
        -- What was made above is as it should be.
        and (p.last_seen_at, p.expires_at) is distinct from (now(), lease_until)
        -- Whoever said that they are offline is, until they do something.
        and not (
            p.status = 'offline' and not p.is_automatic and coalesce(connected.active_at <= p.last_seen_at, true)
        );
end
$fn$;
comment on function rowcast.touch_presence(uuid[], uuid[], timestamptz[], integer, integer) is 'Notes that people are connected, and when they were last active. Made by Rowcast.';

create or replace function rowcast.leave_presence(user_ids uuid[], customer_ids uuid[], grace_seconds integer) returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    perform from public.user_presence p
    where p.user_id = any (leave_presence.user_ids) or p.customer_id = any (leave_presence.customer_ids)
    order by p.id
    for no key update;
    update public.user_presence p
    set last_seen_at = now(), expires_at = now() + make_interval(secs => grace_seconds)
    where (p.user_id = any (leave_presence.user_ids) or p.customer_id = any (leave_presence.customer_ids))
        and p.status <> 'offline';
end
$fn$;
comment on function rowcast.leave_presence(uuid[], uuid[], integer) is 'Notes that the last device of people has gone. Made by Rowcast.';

create or replace function rowcast.expire_presence(idle_seconds integer) returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    active_since constant timestamptz := now() - make_interval(secs => idle_seconds);
    -- Leases change all the time, so no index has them: of those who are there, everybody is looked at. They are locked
    -- in the order in which everybody locks presence; whose row somebody else holds is looked at the next time.
    due constant uuid[] := array(
        select p.id
        from public.user_presence p
        where p.status <> 'offline'
            and (p.expires_at <= now() or p.status = 'online' and p.active_at < active_since)
        order by p.id
        for no key update skip locked
    );
begin
    if due = '{}' then
        return 0;
    end if;
    update public.user_presence p
    set status = case when p.expires_at <= now() then 'offline' else 'away' end, is_automatic = true
    where p.id = any (due);
    return cardinality(due);
end
$fn$;
comment on function rowcast.expire_presence(integer) is 'Makes those offline whose lease is over, and those away who have been idle; says how many. Made by Rowcast.';

create or replace function rowcast.note_deliveries(message_ids uuid[], user_ids uuid[], customer_ids uuid[]) returns integer
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    delivered_count integer;
begin
    update public.message_delivery_status d
    set status = 'delivered'
    where d.id in (
        select reached.id
        from unnest(note_deliveries.message_ids, note_deliveries.user_ids, note_deliveries.customer_ids)
            t (message_id, user_id, customer_id)
        join public.message_delivery_status reached
            on reached.message_id = t.message_id
            and reached.recipient_id = coalesce(t.user_id, t.customer_id)
            and reached.recipient_type = case when t.customer_id is null then 'staff' else 'customer' end
        where reached.status in ('sent', 'failed')
        -- In the order in which everybody locks deliveries.
        order by reached.message_id, reached.recipient_id
        for no key update of reached
    );
    get diagnostics delivered_count = row_count;
    return delivered_count;
end
$fn$;
comment on function rowcast.note_deliveries(uuid[], uuid[], uuid[]) is 'Notes that messages have reached people; what was read stays read. Made by Rowcast.';

revoke all on function
    rowcast.expire_typing(), rowcast.next_typing_expiry(),
    rowcast.touch_presence(uuid[], uuid[], timestamptz[], integer, integer), rowcast.leave_presence(uuid[], uuid[], integer),
    rowcast.expire_presence(integer), rowcast.note_deliveries(uuid[], uuid[], uuid[])
from public;
