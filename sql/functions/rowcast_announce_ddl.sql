-- rowcast.announce_ddl(): writes into the log, within the transaction, that something has changed which decides who may
-- see a row.
-- Re-runnable.
--
-- The server reads the catalog again before it decides that transaction and what comes after it; without this it finds
-- the change when it compares next. Whatever goes wrong here is no concern of whoever changes the schema, so nothing is
-- raised; in doubt it announces. What it writes is a hint: the server looks for itself.

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
