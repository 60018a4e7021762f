-- rowcast.create_messages_partition(): makes one day's partition of realtime.messages where it is missing.
-- Re-runnable.
--
-- A new table is attached, which lets others read and write meanwhile; `create table … partition of` would lock them
-- out. Nobody but the table's owner may make partitions, so this is for the functions that run as the owner.

create or replace function rowcast.create_messages_partition(day date) returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    parent constant regclass := to_regclass('realtime.messages');
    partition constant text := 'messages_' || to_char(day, 'YYYY_MM_DD');
    owner text;
begin
    select relowner::regrole::text into owner from pg_catalog.pg_class where oid = parent and relkind = 'p';
    -- A table without partitions takes every day's rows.
    if not found then
        return false;
    end if;
    for attempt in 1..2 loop
        -- Asked of the catalog as it is now; a query would not see what was committed after an old snapshot.
        if pg_partition_root(to_regclass(format('realtime.%I', partition))) = parent then
            return false;
        end if;
        if attempt = 1 then
            -- One session at a time; this is the lock that attaching takes, and reading and writing pass it.
            lock table only realtime.messages in share update exclusive mode;
        end if;
    end loop;
    execute format('create table realtime.%I (like realtime.messages including all)', partition);
    -- Nobody reads a partition past the table's policies.
    execute format('alter table realtime.%I enable row level security', partition);
    if owner <> current_user::regrole::text then
        execute format('alter table realtime.%I owner to %s', partition, owner);
    end if;
    execute format(
        'alter table realtime.messages attach partition realtime.%I for values from (%L) to (%L)',
        partition, to_char(day, 'YYYY-MM-DD'), to_char(day + 1, 'YYYY-MM-DD')
    );
    return true;
end
$fn$;
comment on function rowcast.create_messages_partition(date) is 'Makes one day''s partition of realtime.messages; false if it is there.';
revoke all on function rowcast.create_messages_partition(date) from public;
