-- why:   policies ask who is asking by auth.uid(), auth.role() and auth.jwt(). Where somebody has put a function
--        of that name, such as Supabase, it stays. The claims come from the setting request.jwt.claims; the
--        settings of one claim each are what old PostgREST versions set.
-- locks: nothing that exists.
-- undo:  drop function auth.uid(), auth.role(), auth.jwt(); (only where their comment says "Made by Rowcast")
--
-- Policies call these on every row. A `set search_path` would forbid Postgres to inline them, so there is
-- none; every function and operator called is one of pg_catalog, which is searched first.
--
-- Everybody may call them, as in Supabase: they reveal only what the session itself has set.

do $do$
begin
    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid
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
    if to_regprocedure('auth.role()') is null then
        create function auth.role() returns text
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
    if to_regprocedure('auth.jwt()') is null then
        create function auth.jwt() returns jsonb
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
