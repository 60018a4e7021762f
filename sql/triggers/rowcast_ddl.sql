-- The event triggers that announce what decides who may see a row.
-- Re-runnable; without the right to make event triggers it leaves them out: changes are found by comparing, then.

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
