-- rowcast.maintain_messages(): the upkeep of realtime.messages in one call, for a scheduler or a person.
-- Re-runnable.
--
-- The server does the same every hour.

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
