-- supabase_realtime_messages_publication: what makes the rows of realtime.messages arrive at the server.
-- Re-runnable; leaves a publication of that name alone.

do $do$
begin
    if to_regclass('realtime.messages') is null then
        return;
    end if;
    if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime_messages_publication') then
        create publication supabase_realtime_messages_publication for table realtime.messages;
        comment on publication supabase_realtime_messages_publication is 'Broadcasts written in SQL, on their way to the server.';
    elsif not exists (
        select from pg_catalog.pg_publication p
        left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = 'realtime.messages'::regclass
        where p.pubname = 'supabase_realtime_messages_publication' and (p.puballtables or r.oid is not null)
    ) then
        raise notice 'broadcasts written in SQL will not arrive; as its owner: alter publication supabase_realtime_messages_publication add table realtime.messages';
    end if;
exception
    when insufficient_privilege then
        raise notice 'broadcasts written in SQL will not arrive; as a superuser: create publication supabase_realtime_messages_publication for table realtime.messages';
end
$do$;
