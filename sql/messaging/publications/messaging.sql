-- The tables that clients may subscribe to.
-- Re-runnable; a publication for all tables has them already.

do $do$
declare
    name text;
begin
    if (select p.puballtables from pg_catalog.pg_publication p where p.pubname = 'supabase_realtime') then
        return;
    end if;
    foreach name in array array[
        'conversations', 'conversation_participants', 'messages', 'message_reactions', 'message_read_receipts',
        'message_typing_indicators', 'user_presence', 'message_delivery_status'
    ] loop
        if not exists (
            select from pg_catalog.pg_publication_tables t
            where t.pubname = 'supabase_realtime' and t.schemaname = 'public' and t.tablename = name
        ) then
            execute format('alter publication supabase_realtime add table public.%I', name);
        end if;
    end loop;
exception
    when insufficient_privilege then
        raise notice 'the messaging tables are not published; as the owner of supabase_realtime: alter publication supabase_realtime add table public.conversations, public.conversation_participants, public.messages, public.message_reactions, public.message_read_receipts, public.message_typing_indicators, public.user_presence, public.message_delivery_status';
end
$do$;
