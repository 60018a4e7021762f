-- why:   every token names one of these three roles, and policies are written for them. Where Supabase made them
--        they stay as they are. Without the right to create roles this says so and goes on.
-- locks: nothing that exists.
-- undo:  drop role anon, authenticated, service_role; (only where nothing else uses them)

do $do$
declare
    role_name name;
    options text;
begin
    for role_name, options in
        values ('anon'::name, 'nologin noinherit'),
               ('authenticated', 'nologin noinherit'),
               ('service_role', 'nologin noinherit bypassrls')
    loop
        if to_regrole(role_name::text) is not null then
            continue;
        end if;
        begin
            execute format('create role %I %s', role_name, options);
        exception
            when insufficient_privilege then
                raise notice 'role % is missing; as a superuser: create role % %', role_name, role_name, options;
            when duplicate_object or unique_violation then
                -- Another database of this cluster is being migrated at the same moment.
                null;
        end;
    end loop;

    for role_name in
        select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role')
    loop
        -- In a schema that somebody else owns, the owner has granted what is right.
        if pg_has_role((select nspowner from pg_catalog.pg_namespace where nspname = 'auth'), 'usage') then
            execute format('grant usage on schema auth to %I', role_name);
        end if;
        if pg_has_role((select nspowner from pg_catalog.pg_namespace where nspname = 'realtime'), 'usage') then
            execute format('grant usage on schema realtime to %I', role_name);
        end if;
    end loop;
end
$do$;
