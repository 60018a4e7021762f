-- why:   realtime.messages has a partition for each day. These functions make them ahead, drop them after the
--        retention, and make today's for a sender who finds it missing. sql/functions says why each is as it is.
-- locks: nothing that exists.
-- undo:  drop function rowcast.maintain_messages(interval), rowcast.drop_messages_partitions(interval),
--        rowcast.create_messages_partitions(), rowcast.repair_messages(), rowcast.create_messages_partition(date);

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

create or replace function rowcast.drop_messages_partitions(retention interval default '72 hours') returns setof text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $fn$
declare
    oldest constant text := 'messages_' || to_char(timezone('utc', now()) - retention, 'YYYY_MM_DD');
    partition text;
begin
    if retention is null or retention < interval '0' then
        raise exception 'retention is %, and must not be negative', coalesce(retention::text, 'null')
            using errcode = 'invalid_parameter_value';
    end if;
    for partition in
        select c.relname::text
        from pg_catalog.pg_inherits i
        join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass('realtime.messages')
            and c.relnamespace = 'realtime'::regnamespace
            -- Others than those of one day are somebody's own.
            and c.relname ~ '^messages_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
            and c.relname::text collate "C" < oldest
        order by 1
    loop
        execute format('drop table realtime.%I', partition);
        return next partition;
    end loop;
end
$fn$;
comment on function rowcast.drop_messages_partitions(interval) is 'Drops the partitions of realtime.messages that are past the retention; returns their names.';
revoke all on function rowcast.drop_messages_partitions(interval) from public;

create or replace function rowcast.maintain_messages(retention interval default '72 hours')
returns table (action text, partition text)
language sql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
    select 'created', name from rowcast.create_messages_partitions() as name
    union all
    select 'dropped', name from rowcast.drop_messages_partitions(retention) as name
$fn$;
comment on function rowcast.maintain_messages(interval) is 'Makes the partitions of realtime.messages that are needed, drops those past the retention, and says which.';
revoke all on function rowcast.maintain_messages(interval) from public;
