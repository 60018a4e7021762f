-- why:   the objects of the schema realtime get an owner that can do nothing else, as Supabase has it. Without the
--        right to create roles this says so, and they belong to the role that migrates.
-- locks: nothing that exists.
-- undo:  drop role supabase_realtime_admin; (only where nothing belongs to it)

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
