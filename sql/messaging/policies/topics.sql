-- Who may join the private channels of conversations, and speak and be seen there.
-- Re-runnable.
--
-- Policies are the table owner's to make, and an older Supabase has no such table. Then it is said what is missing, and
-- public channels work without.

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
    when insufficient_privilege or undefined_table or undefined_function then
        raise notice 'private channels of conversations stay closed, as policies on realtime.messages could not be made: %', sqlerrm;
end
$do$;
