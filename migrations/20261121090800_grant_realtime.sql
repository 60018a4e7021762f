-- why:   who owns what was made in the schema realtime, and who may use it: for roles that exist, and for objects
--        that Rowcast made. Then the upkeep has its owner, too, and makes the first partitions.
-- locks: what it grants on, for a moment.
-- undo:  revoke all on all tables in schema realtime from anon, authenticated, service_role; (and so on; only for
--        objects whose comment says "Made by Rowcast")

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

do $do$
begin
    perform rowcast.create_messages_partitions();
exception
    when insufficient_privilege then
        raise notice 'partitions of realtime.messages could not be made: %; let its owner migrate, or see to them', sqlerrm;
end
$do$;
