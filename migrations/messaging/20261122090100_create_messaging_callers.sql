-- why:   who is asking, what they take part in, and whether they may: policies, functions and triggers ask it here.
-- locks: nothing that exists.
-- undo:  drop function (each of them); (policies that ask them first)

create or replace function rowcast.caller_customer_id() returns uuid
language sql
stable
security invoker
return coalesce(auth.jwt() ->> 'customer_id', auth.jwt() -> 'app_metadata' ->> 'customer_id')::uuid;
comment on function rowcast.caller_customer_id() is 'The customer that the token names, or null. Made by Rowcast.';

create or replace function rowcast.caller_user_id() returns uuid
language sql
stable
security invoker
return case when rowcast.caller_customer_id() is null then auth.uid() end;
comment on function rowcast.caller_user_id() is 'The user that the token names; null for a customer, whose token''s subject means nothing. Made by Rowcast.';

create or replace function rowcast.caller_is_staff() returns boolean
language sql
stable
security invoker
return rowcast.caller_user_id() is not null
    and coalesce(auth.jwt() -> 'app_metadata' ->> 'role' = 'staff', false);
comment on function rowcast.caller_is_staff() is 'Whether the token is one of a staff user; only issuers write app_metadata. Made by Rowcast.';

-- The setting role is the one that the session has taken, also within functions that run as their owner.
create or replace function rowcast.caller_is_service() returns boolean
language sql
stable
security invoker
begin atomic
    select coalesce(
        (
            select r.rolbypassrls or r.rolsuper
            from pg_catalog.pg_roles r
            where r.rolname = coalesce(nullif(current_setting('role'), 'none'), session_user)
        ),
        false
    );
end;
comment on function rowcast.caller_is_service() is 'Whether row level security does not bind the session''s role, so that it may act for anybody. Made by Rowcast.';

-- Security definer: the policy of conversation_participants asks this, and would lead back to itself.
create or replace function rowcast.takes_part(conversation_id uuid) returns boolean
language sql
stable
security definer
begin atomic
    select exists (
        select
        from public.conversation_participants p
        where p.conversation_id = takes_part.conversation_id
            and p.left_at is null
            and (p.user_id = (select rowcast.caller_user_id()) or p.customer_id = (select rowcast.caller_customer_id()))
    );
end;
comment on function rowcast.takes_part(uuid) is 'Whether the caller takes part in a conversation and has not left it. Made by Rowcast.';

-- Security definer: see takes_part(). Postgres asks this once a statement, and looks the conversations up by an index.
create or replace function rowcast.own_conversation_ids() returns setof uuid
language sql
stable
security definer
rows 50
begin atomic
    select p.conversation_id
    from public.conversation_participants p
    where p.left_at is null
        and (p.user_id = (select rowcast.caller_user_id()) or p.customer_id = (select rowcast.caller_customer_id()));
end;
comment on function rowcast.own_conversation_ids() is 'The conversations that the caller takes part in and has not left. Made by Rowcast.';

-- Between these two is everything for staff and nothing for others. A range can be looked up where a mere condition on
-- the caller would make Postgres read the whole table.
create or replace function rowcast.staff_from() returns uuid
language sql
stable
security invoker
return case when rowcast.caller_is_staff() then '00000000-0000-0000-0000-000000000000'::uuid end;
comment on function rowcast.staff_from() is 'The lowest of all ids for staff, null for others. Made by Rowcast.';

create or replace function rowcast.staff_to() returns uuid
language sql
stable
security invoker
return case when rowcast.caller_is_staff() then 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid end;
comment on function rowcast.staff_to() is 'The highest of all ids for staff, null for others. Made by Rowcast.';

-- Security definer: it reads participations that the caller may see only by way of takes_part().
-- A query for each of the two ids: each begins at that person's participations, which are few.
create or replace function rowcast.shares_conversation(user_id uuid, customer_id uuid) returns boolean
language sql
stable
security definer
begin atomic
    select exists (
        select
        from public.conversation_participants other
        join public.conversation_participants own on own.conversation_id = other.conversation_id
        where other.user_id = shares_conversation.user_id
            and other.left_at is null
            and own.left_at is null
            and (own.user_id = (select rowcast.caller_user_id()) or own.customer_id = (select rowcast.caller_customer_id()))
    ) or exists (
        select
        from public.conversation_participants other
        join public.conversation_participants own on own.conversation_id = other.conversation_id
        where other.customer_id = shares_conversation.customer_id
            and other.left_at is null
            and own.left_at is null
            and (own.user_id = (select rowcast.caller_user_id()) or own.customer_id = (select rowcast.caller_customer_id()))
    );
end;
comment on function rowcast.shares_conversation(uuid, uuid) is 'Whether the caller and that person take part in one conversation now. Made by Rowcast.';

revoke all on function
    rowcast.caller_customer_id(), rowcast.caller_user_id(), rowcast.caller_is_staff(), rowcast.caller_is_service(),
    rowcast.takes_part(uuid), rowcast.own_conversation_ids(), rowcast.staff_from(), rowcast.staff_to(),
    rowcast.shares_conversation(uuid, uuid)
from public;

-- For whom a call acts: the caller, unless ids are given; and other ids than the caller's only for those whom row level
-- security does not bind.
create or replace function rowcast.person(inout user_id uuid, inout customer_id uuid)
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
begin
    if person.user_id is null and person.customer_id is null then
        person.user_id := own_user_id;
        person.customer_id := own_customer_id;
        if num_nulls(person.user_id, person.customer_id) = 2 then
            raise exception using errcode = '22023', message = 'the token names nobody: give user_id or customer_id';
        end if;
    elsif num_nonnulls(person.user_id, person.customer_id) = 2 then
        raise exception using errcode = '22023', message = 'give user_id or customer_id, and not both';
    elsif (
        person.user_id is distinct from own_user_id or person.customer_id is distinct from own_customer_id
    ) and not rowcast.caller_is_service() then
        raise exception using errcode = '42501', message = 'nobody may act for somebody else';
    end if;
end
$fn$;
comment on function rowcast.person(uuid, uuid) is 'For whom a call acts: the caller, or whoever a trusted role names. Made by Rowcast.';

create or replace function rowcast.may_see(conversation_id uuid) returns boolean
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
begin
    return rowcast.caller_is_service() or rowcast.caller_is_staff() or rowcast.takes_part(may_see.conversation_id);
end
$fn$;
comment on function rowcast.may_see(uuid) is 'Whether the caller sees what is in a conversation. Made by Rowcast.';

-- Security definer: it looks at conversations of others, to tell what is refused from what does not exist.
create or replace function rowcast.require_conversation(conversation_id uuid, is_writing boolean) returns void
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    kind text;
begin
    select c.kind into kind from public.conversations c where c.id = require_conversation.conversation_id;
    if kind is null or not rowcast.may_see(require_conversation.conversation_id) then
        raise exception using errcode = 'PT404', message = 'there is no such conversation';
    end if;
    if is_writing
        and kind <> 'support'
        and not rowcast.takes_part(require_conversation.conversation_id)
        and not rowcast.caller_is_service()
    then
        raise exception using errcode = '42501', message = 'only those who take part may write in this conversation';
    end if;
end
$fn$;
comment on function rowcast.require_conversation(uuid, boolean) is 'Refuses a conversation that the caller does not see, or may not write in. Made by Rowcast.';

-- Security definer: nobody reads or writes the rates of anybody.
create or replace function rowcast.spend(setting text, user_id uuid, customer_id uuid, scope uuid) returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    most integer;
    moment constant timestamptz := clock_timestamp();
    rate record;
begin
    if rowcast.caller_is_service() then
        return;
    end if;
    select s.value into most from rowcast.messaging_settings s where s.name = spend.setting;
    if coalesce(most, 0) = 0 then
        return;
    end if;
    insert into rowcast.messaging_rates as r (kind, person_id, scope, started_at, used)
    values (
        spend.setting,
        coalesce(spend.user_id, spend.customer_id, nobody),
        coalesce(spend.scope, nobody),
        moment,
        1
    )
    on conflict on constraint messaging_rates_pkey do update
    set started_at = case when r.started_at > moment - interval '1 minute' then r.started_at else moment end,
        used = case when r.started_at > moment - interval '1 minute' then r.used + 1 else 1 end
    returning r.started_at, r.used into rate;
    if rate.used > most then
        raise exception using
            errcode = 'PT429',
            message = format('no more than %s in a minute', most),
            detail = format(
                'retry after %s seconds',
                greatest(1, ceil(extract(epoch from rate.started_at + interval '1 minute' - moment)))::integer
            ),
            hint = spend.setting;
    end if;
end
$fn$;
comment on function rowcast.spend(text, uuid, uuid, uuid) is 'Counts one use of a limit, and refuses what goes beyond it. Made by Rowcast.';

revoke all on function
    rowcast.person(uuid, uuid), rowcast.may_see(uuid), rowcast.require_conversation(uuid, boolean),
    rowcast.spend(text, uuid, uuid, uuid)
from public;
