-- Who may call what apps ask about conversations and their channels.
-- Re-runnable; only roles that exist.
--
-- Everything is taken away first, as in messaging.sql. Policies call the last two as whoever joins a channel.

do $do$
declare
    functions constant text := 'public.list_typing_indicators(uuid), rowcast.may_use_topic(text), rowcast.may_hear_topic(text)';
    grantee name;
begin
    execute format('revoke all on function %s from public', functions);
    for grantee in
        select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role')
    loop
        execute format('revoke all on function %s from %I', functions, grantee);
        if grantee <> 'anon' then
            execute format('grant execute on function %s to %I', functions, grantee);
        end if;
    end loop;
end
$do$;
