-- Who owns the upkeep of realtime.messages, and who may call it.
-- Re-runnable.
--
-- The functions make and drop partitions with their owner's rights. Where Rowcast made realtime.messages, that is
-- its owner, and everybody may have today's partition made, as realtime.send() does. Elsewhere partitions may belong to
-- anybody; the functions stay with the role that migrated, and nobody else may call them. So they do where that role
-- is no superuser, which cannot give them away.
--
-- A server that logs in as another role needs this: grant execute on all functions in schema rowcast to that role.

do $do$
declare
    owner constant regrole := (
        select c.relowner from pg_catalog.pg_class c
        where c.oid = to_regclass('realtime.messages') and obj_description(c.oid, 'pg_class') like '%Made by Rowcast.'
    );
    upkeep regprocedure;
begin
    -- realtime.send() runs as its caller and looks for rowcast.repair_messages().
    grant usage on schema rowcast to public;
    if owner is null then
        revoke execute on function rowcast.repair_messages() from public;
    elsif (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        for upkeep in
            select p.oid from pg_catalog.pg_proc p
            where p.pronamespace = 'rowcast'::regnamespace and p.proname ~ '^(create|drop|maintain|repair)_messages'
        loop
            execute format('alter function %s owner to %s', upkeep, owner);
        end loop;
    end if;
end
$do$;
