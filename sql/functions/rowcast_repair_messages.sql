-- rowcast.repair_messages(): makes today's partition of realtime.messages if it is missing.
-- Re-runnable.
--
-- realtime.send() calls this as whoever sends, and no sender may make tables. So it runs as the owner of the
-- messages, for everybody, and does this one thing: no argument, and the day is the day the transaction began.
--
-- pg_temp comes last in the path, so that no caller's temporary type or table is taken for a built-in one, and
-- settings that would shape the partition are not the caller's.

create or replace function rowcast.repair_messages() returns boolean
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
set default_tablespace = ''
as $fn$
    select rowcast.create_messages_partition(timezone('utc', now())::pg_catalog.date)
$fn$;
comment on function rowcast.repair_messages() is 'Makes today''s partition of realtime.messages, for any caller; false if it is there.';
revoke all on function rowcast.repair_messages() from public;
grant execute on function rowcast.repair_messages() to public;
