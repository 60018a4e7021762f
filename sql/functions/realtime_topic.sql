-- realtime.topic(): the topic that is being read or written, for policies; or null.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Policies call this on every row. A `set search_path` would forbid Postgres to inline it, so there is none.

do $do$
begin
    if obj_description(to_regprocedure('realtime.topic()'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.topic()') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.topic() returns text
        language sql
        stable
        security invoker
        as $fn$
            select nullif(current_setting('realtime.topic', true), '')
        $fn$;
        comment on function realtime.topic() is 'The topic that is being read or written, or null. Made by Rowcast.';
    end if;
end
$do$;
