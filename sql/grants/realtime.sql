-- Who owns what Rowcast has made in the schema realtime, and who may use it.
-- Re-runnable; touches only what Rowcast made, and only roles that exist.
--
-- Functions stay executable by everybody: they run with the caller's rights, and what those allow is said by the
-- grants and policies of realtime.messages. Applied by a superuser, the owner is supabase_realtime_admin, which can do
-- nothing else; otherwise it is the role that made the objects.

do $do$
declare
    superuser constant boolean := (select rolsuper from pg_catalog.pg_roles where rolname = current_user);
    admin constant regrole := case when superuser then to_regrole('supabase_realtime_admin') end;
    object record;
    grantee name;
begin
    if to_regclass('realtime.schema_migrations') is null
        and pg_has_role((select nspowner from pg_catalog.pg_namespace where nspname = 'realtime'), 'usage')
    then
        for grantee in select rolname from pg_catalog.pg_roles where rolname = 'supabase_realtime_admin' loop
            execute format('grant usage, create on schema realtime to %I', grantee);
        end loop;
        for grantee in select rolname from pg_catalog.pg_roles where rolname = 'postgres' loop
            execute format('grant usage on schema realtime to %I with grant option', grantee);
        end loop;
    end if;

    for object in
        select 'table' as kind, c.oid::regclass::text as name, c.relname::text as label
        from pg_catalog.pg_class c
        where c.relnamespace = 'realtime'::regnamespace and c.relkind in ('r', 'p')
            and obj_description(c.oid, 'pg_class') like '%Made by Rowcast.'
        union all
        select 'sequence', pg_get_serial_sequence('realtime.subscription', 'id'), 'subscription_id_seq'
        from pg_catalog.pg_class c
        where c.oid = to_regclass('realtime.subscription') and obj_description(c.oid, 'pg_class') like '%Made by Rowcast.'
        union all
        select 'type', t.oid::regtype::text, t.typname
        from pg_catalog.pg_type t
        where t.typnamespace = 'realtime'::regnamespace
            and obj_description(t.oid, 'pg_type') like '%Made by Rowcast.'
        union all
        select 'function', p.oid::regprocedure::text, p.proname
        from pg_catalog.pg_proc p
        where p.pronamespace = 'realtime'::regnamespace
            and obj_description(p.oid, 'pg_proc') like '%Made by Rowcast.'
    loop
        -- A sequence of an identity column has its table's owner.
        if admin is not null and object.kind <> 'sequence' then
            execute format('alter %s %s owner to %s', object.kind, object.name, admin);
        end if;
        for grantee in
            select rolname from pg_catalog.pg_roles
            where rolname in ('postgres', 'dashboard_user', 'anon', 'authenticated', 'service_role')
        loop
            if object.kind in ('table', 'sequence') and grantee in ('postgres', 'dashboard_user') then
                execute format('grant all on %s %s to %I', object.kind, object.name, grantee);
            elsif object.kind = 'table' and object.label = 'messages' then
                execute format('grant select, insert, update on table %s to %I', object.name, grantee);
            elsif object.kind = 'sequence' then
                execute format('grant usage on sequence %s to %I', object.name, grantee);
            elsif object.kind = 'table' then
                execute format('grant select on table %s to %I', object.name, grantee);
            elsif object.kind = 'function' and (
                grantee in ('postgres', 'dashboard_user')
                or object.label not in ('send', 'send_binary', 'broadcast_changes', 'topic', 'wal2json_escape_identifier')
            ) then
                execute format('grant execute on function %s to %I', object.name, grantee);
            end if;
        end loop;
    end loop;
end
$do$;
