-- supabase_realtime_admin: who owns the schema realtime's objects.
-- Re-runnable; a role of that name stays as it is.
--
-- Without the right to create roles this says so, and the objects belong to the role that makes them.

do $do$
begin
    if to_regrole('supabase_realtime_admin') is null then
        create role supabase_realtime_admin nologin noinherit;
    end if;
exception
    when insufficient_privilege then
        raise notice 'role supabase_realtime_admin is missing, and % owns the objects of realtime; to change that, as a superuser: create role supabase_realtime_admin nologin noinherit, then apply sql/grants', current_user;
    when duplicate_object or unique_violation then
        -- Another database of this cluster is being migrated at the same moment.
        null;
end
$do$;
