-- realtime.to_regrole(): the role of a name.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Immutable, though it reads the catalog, because a stored generated column asks for that. A role's name means the role
-- that bore it when the row was written.

do $do$
begin
    if obj_description(to_regprocedure('realtime.to_regrole(text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.to_regrole(text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.to_regrole(role_name text) returns regrole
        language sql
        immutable
        security invoker
        set search_path = ''
        as $fn$
            select role_name::regrole
        $fn$;
        comment on function realtime.to_regrole(text) is 'The role of a name; raises if there is none. Made by Rowcast.';
    end if;
end
$do$;
