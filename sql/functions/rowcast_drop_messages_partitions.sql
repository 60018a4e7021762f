-- rowcast.drop_messages_partitions(): drops the partitions of realtime.messages whose day is past the retention.
-- Re-runnable.
--
-- Dropping locks out everybody for a moment, and would queue them up behind a long transaction; so it gives up after
-- a second, and the next run tries again.
-- Runs as the owner of the messages, for those who were granted it: see sql/grants.

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
