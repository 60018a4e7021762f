-- why:   Policies, functions, rights and tables decide who may see a row. Event triggers announce their changes within
--        the log, so that the server decides a transaction by what held when it committed. sql/functions and sql/triggers
--        say why each is as it is. Only superusers may create event triggers; without them the server polls.
-- locks: none.
-- undo:  drop event trigger rowcast_ddl, drop event trigger rowcast_drop; drop function rowcast.announce_ddl();

create or replace function rowcast.announce_ddl() returns event_trigger
language plpgsql
volatile
security definer
set search_path = ''
as $fn$
declare
    matters boolean;
begin
    begin
        if tg_event = 'sql_drop' then
            matters := exists (
                select from pg_catalog.pg_event_trigger_dropped_objects() d
                where not d.is_temporary and d.object_type not in ('trigger', 'sequence', 'default value', 'statistics object')
            );
        else
            -- What that command revokes is not listed.
            matters := tg_tag = 'DROP OWNED' or exists (
                select from pg_catalog.pg_event_trigger_ddl_commands() c
                where c.schema_name is distinct from 'pg_temp'
            );
        end if;
    exception
        when others then
            matters := true;
    end;
    if matters then
        perform pg_catalog.pg_logical_emit_message(true, 'rowcast_ddl', tg_tag);
    end if;
exception
    when others then
        null;
end
$fn$;
comment on function rowcast.announce_ddl() is 'Writes into the log that the schema has changed, for event triggers. Made by Rowcast.';
revoke all on function rowcast.announce_ddl() from public;

do $do$
begin
    if not exists (select from pg_catalog.pg_event_trigger where evtname = 'rowcast_ddl') then
        create event trigger rowcast_ddl on ddl_command_end
            when tag in (
                'ALTER AGGREGATE', 'ALTER CAST', 'ALTER COLLATION', 'ALTER DOMAIN', 'ALTER EXTENSION', 'ALTER FOREIGN TABLE',
                'ALTER FUNCTION', 'ALTER MATERIALIZED VIEW', 'ALTER OPERATOR', 'ALTER POLICY', 'ALTER PROCEDURE',
                'ALTER PUBLICATION', 'ALTER ROUTINE', 'ALTER RULE', 'ALTER SCHEMA', 'ALTER TABLE', 'ALTER TYPE', 'ALTER VIEW',
                'CREATE AGGREGATE', 'CREATE CAST', 'CREATE COLLATION', 'CREATE DOMAIN', 'CREATE EXTENSION',
                'CREATE FOREIGN TABLE', 'CREATE FUNCTION', 'CREATE MATERIALIZED VIEW', 'CREATE OPERATOR', 'CREATE POLICY',
                'CREATE PUBLICATION', 'CREATE RULE', 'CREATE SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'CREATE TYPE',
                'CREATE VIEW', 'DROP OWNED', 'GRANT', 'IMPORT FOREIGN SCHEMA', 'REVOKE', 'SELECT INTO'
            )
            execute function rowcast.announce_ddl();
    end if;
    if not exists (select from pg_catalog.pg_event_trigger where evtname = 'rowcast_drop') then
        create event trigger rowcast_drop on sql_drop execute function rowcast.announce_ddl();
    end if;
exception
    when insufficient_privilege then
        raise notice 'may not create event triggers: changes of policies are found by polling; a superuser can run sql/triggers/rowcast_ddl.sql';
end
$do$;
