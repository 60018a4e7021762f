-- auth.jwt(): all claims of the token, or null.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Policies call this on every row. A `set search_path` would forbid Postgres to inline it, so there is
-- none; every function and operator called is one of pg_catalog, which is searched first.

do $do$
begin
    if to_regprocedure('auth.jwt()') is null
        or obj_description(to_regprocedure('auth.jwt()'), 'pg_proc') like '%Made by Rowcast.'
    then
        create or replace function auth.jwt() returns jsonb
        language sql
        stable
        security invoker
        as $fn$
            select coalesce(
                nullif(current_setting('request.jwt.claims', true), ''),
                nullif(current_setting('request.jwt.claim', true), '')
            )::jsonb
        $fn$;
        comment on function auth.jwt() is 'All claims of the token, or null. Made by Rowcast.';
    end if;
end
$do$;
