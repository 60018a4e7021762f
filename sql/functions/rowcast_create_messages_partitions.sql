-- rowcast.create_messages_partitions(): makes the partitions of realtime.messages from yesterday to three days on.
-- Re-runnable.
--
-- Yesterday's is for senders whose time zone is behind, the next days' for a server that is not there for a while.
-- Runs as the owner of the messages, for those who were granted it: see sql/grants.

create or replace function rowcast.create_messages_partitions() returns setof text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
set default_tablespace = ''
as $fn$
declare
    today constant date := timezone('utc', now())::date;
    day date;
begin
    for day in select today + number from generate_series(-1, 3) as number loop
        begin
            if rowcast.create_messages_partition(day) then
                return next 'messages_' || to_char(day, 'YYYY_MM_DD');
            end if;
        exception
            when invalid_object_definition then
                -- A partition of another name holds that day.
                null;
        end;
    end loop;
end
$fn$;
comment on function rowcast.create_messages_partitions() is 'Makes the missing partitions of realtime.messages, yesterday''s to that of three days on; returns their names.';
revoke all on function rowcast.create_messages_partitions() from public;
