-- Who owns the upkeep of realtime.messages, and who may call it.
-- Re-runnable.
--
-- The functions make and drop partitions as the owner of realtime.messages, who needs the right to create in its
-- schema. Where that is not so, or the one who applies this is no superuser, they stay with the role that made them.
-- A server that logs in as another role needs this: grant execute on all functions in schema rowcast to that role.

do $do$
declare
    owner constant regrole := (
        select c.relowner from pg_catalog.pg_class c
        where c.oid = to_regclass('realtime.messages') and has_schema_privilege(c.relowner, 'realtime', 'create')
    );
    upkeep regprocedure;
begin
    -- realtime.send() runs as its caller and looks for rowcast.repair_messages().
    grant usage on schema rowcast to public;
    if owner is null or not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        return;
    end if;
    for upkeep in
        select p.oid from pg_catalog.pg_proc p
        where p.pronamespace = 'rowcast'::regnamespace and p.proname like '%messages%'
    loop
        execute format('alter function %s owner to %s', upkeep, owner);
    end loop;
end
$do$;
