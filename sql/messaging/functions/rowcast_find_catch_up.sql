-- rowcast.find_catch_up(): the caller's own record of this time, or the last one of this token. Re-runnable.
--
-- As its owner, since nobody else reads the table; it is the claims that say whose records these are.

create or replace function rowcast.find_catch_up(at timestamptz, token bytea) returns setof rowcast.catch_ups
language sql
stable
security definer
set search_path = ''
as $fn$
    select record.*
    from rowcast.catch_ups as record
    where (record.user_id = rowcast.caller_user_id() or record.customer_id = rowcast.caller_customer_id())
        and (record.last_check_time = at or (at is null and record.token_hash = token))
    order by record.last_check_time desc
    limit 1
$fn$;
comment on function rowcast.find_catch_up(timestamptz, bytea) is 'The caller''s record of this time, else the last one of this token. Made by Rowcast.';
revoke all on function rowcast.find_catch_up(timestamptz, bytea) from public;
grant execute on function rowcast.find_catch_up(timestamptz, bytea) to authenticated, service_role;
