-- Who is asking, and what they take part in. Policies and functions ask this here and nowhere else.
-- Re-runnable.
--
-- Bodies are SQL of the standard kind, so that Postgres may inline them and Rowcast can look into them. Names in such
-- bodies are bound when the function is made, whatever the search path of a caller; a `set search_path` would only
-- forbid inlining.

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
