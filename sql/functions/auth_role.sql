-- auth.role(): the role the token names, or null.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Policies call this on every row. A `set search_path` would forbid Postgres to inline it, so there is
-- none; every function and operator called is one of pg_catalog, which is searched first.

do $do$
begin
    if to_regprocedure('auth.role()') is null
        or obj_description(to_regprocedure('auth.role()'), 'pg_proc') like '%Made by Rowcast.'
    then
        create or replace function auth.role() returns text
        language sql
        stable
        security invoker
        as $fn$
            select coalesce(
                nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
                nullif(current_setting('request.jwt.claim.role', true), '')
            )::text
        $fn$;
        comment on function auth.role() is 'The role the token names, or null. Made by Rowcast.';
    end if;
end
$do$;
