-- realtime.quote_wal2json(): a table as wal2json wants it in lists of tables.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Immutable, though it reads the catalog, as elsewhere.

do $do$
begin
    if obj_description(to_regprocedure('realtime.quote_wal2json(regclass)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.quote_wal2json(regclass)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.quote_wal2json(entity regclass) returns text
        language sql
        immutable
        strict
        security invoker
        set search_path = ''
        as $fn$
            select regexp_replace(n.nspname, '[\s\\,.]', '\\\&', 'g') || '.' || regexp_replace(c.relname, '[\s\\,.]', '\\\&', 'g')
            from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where c.oid = entity
        $fn$;
        comment on function realtime.quote_wal2json(regclass) is 'A table''s schema and name, escaped for wal2json. Made by Rowcast.';
    end if;
end
$do$;
