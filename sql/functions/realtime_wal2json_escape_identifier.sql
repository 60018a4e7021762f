-- realtime.wal2json_escape_identifier(): a name as wal2json wants it in lists of tables.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.

do $do$
begin
    if obj_description(to_regprocedure('realtime.wal2json_escape_identifier(text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.wal2json_escape_identifier(text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.wal2json_escape_identifier(name text) returns text
        language sql
        immutable
        strict
        security invoker
        set search_path = ''
        as $fn$
            select regexp_replace(name, '[\s\\,.]', '\\\&', 'g')
        $fn$;
        comment on function realtime.wal2json_escape_identifier(text) is 'A name with backslashes before what wal2json would read as the name''s end. Made by Rowcast.';
    end if;
end
$do$;
