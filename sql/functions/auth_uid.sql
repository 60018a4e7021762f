-- auth.uid(): who is asking: the token's subject, or null.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Policies call this on every row. A `set search_path` would forbid Postgres to inline it, so there is
-- none; every function and operator called is one of pg_catalog, which is searched first.

do $do$
begin
    if to_regprocedure('auth.uid()') is null
        or obj_description(to_regprocedure('auth.uid()'), 'pg_proc') like '%Made by Rowcast.'
    then
        create or replace function auth.uid() returns uuid
        language sql
        stable
        security invoker
        as $fn$
            select coalesce(
                nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
                nullif(current_setting('request.jwt.claim.sub', true), '')
            )::uuid
        $fn$;
        comment on function auth.uid() is 'Who is asking: the token''s subject, or null. Made by Rowcast.';
    end if;
end
$do$;
