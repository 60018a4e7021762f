-- Who may join the private channels of conversations, and speak and be seen there.
-- Re-runnable.
--
-- Policies are the table owner's to make. Where that is somebody else, as on a hosted Supabase, it is said what is
-- missing, and public channels work without.

do $do$
begin
    drop policy if exists "those who take part listen, and staff" on realtime.messages;
    create policy "those who take part listen, and staff" on realtime.messages
        for select to authenticated
        using (rowcast.may_use_topic((select realtime.topic())) or rowcast.may_hear_topic((select realtime.topic())));

    drop policy if exists "those who take part speak, and staff" on realtime.messages;
    create policy "those who take part speak, and staff" on realtime.messages
        for insert to authenticated
        with check (rowcast.may_use_topic((select realtime.topic())));
exception
    when insufficient_privilege then
        raise notice 'private channels of conversations stay closed: policies on realtime.messages are its owner''s to make';
end
$do$;
