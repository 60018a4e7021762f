-- why:   who may use what: first nobody, then authenticated what policies bind, and service_role all. Then clients may
--        subscribe to the tables.
-- locks: the messaging tables, which are new, and the publication supabase_realtime, for a moment.
-- undo:  alter publication supabase_realtime drop table (each of them); revoke all on (each of them) from authenticated;

do $do$
declare
    tables constant text := 'public.users, public.customers, public.conversations, public.conversation_participants, '
        'public.messages, public.message_reactions, public.message_read_receipts, public.message_typing_indicators, '
        'public.user_presence, public.message_delivery_status, public.notification_preferences';
    settings constant text := 'rowcast.messaging_settings';
    rates constant text := 'rowcast.messaging_rates';
    callable text;
    helping text;
    serving text;
    made text;
    grantee name;
begin
    select
        string_agg(f.signature, ', ') filter (where f.is_public),
        string_agg(f.signature, ', ') filter (
            where f.name in (
                'caller_customer_id', 'caller_user_id', 'caller_is_staff', 'caller_is_service', 'takes_part',
                'own_conversation_ids', 'staff_from', 'staff_to',
                'shares_conversation', 'person', 'may_see', 'require_conversation', 'own_message', 'make_profile',
                'are_attachments', 'page_size'
            )
        ),
        string_agg(f.signature, ', ') filter (
            where f.name in (
                'expire_typing', 'next_typing_expiry', 'touch_presence', 'leave_presence', 'expire_presence',
                'note_deliveries'
            )
        ),
        string_agg(f.signature, ', ')
    into callable, helping, serving, made
    from (
        select
            p.oid::regprocedure::text as signature,
            p.proname as name,
            p.pronamespace = 'public'::regnamespace as is_public
        from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace
                and obj_description(p.oid, 'pg_proc') like '%Made by Rowcast.'
                and p.proname in (
                    'upsert_profile', 'start_conversation', 'leave_conversation', 'add_participant',
                    'archive_conversation', 'send_message', 'edit_message', 'delete_message', 'add_message_reaction',
                    'remove_message_reaction', 'mark_message_as_read', 'mark_messages_as_read',
                    'mark_conversation_as_read', 'mark_messages_as_delivered', 'get_unread_message_count',
                    'get_unread_counts', 'update_typing_indicator', 'update_user_presence',
                    'cleanup_expired_typing_indicators', 'list_conversations', 'get_conversation', 'list_messages',
                    'get_message', 'search_messages', 'messages_since', 'get_notification_preferences',
                    'update_notification_preferences', 'list_presence'
                )
            or p.pronamespace = 'rowcast'::regnamespace
                and p.proname in (
                    'caller_customer_id', 'caller_user_id', 'caller_is_staff', 'caller_is_service', 'takes_part',
                    'own_conversation_ids', 'staff_from', 'staff_to',
                    'shares_conversation', 'person', 'may_see', 'require_conversation', 'own_message', 'make_profile',
                    'are_attachments', 'page_size', 'expire_typing', 'next_typing_expiry', 'touch_presence',
                    'leave_presence', 'expire_presence', 'note_deliveries', 'spend', 'message_json', 'unread_count',
                    'unread_counts', 'support_reader', 'conversation_json', 'stamp_updated_at', 'keep_participants', 'stamp_message', 'note_message',
                    'stamp_message_change', 'stamp_reaction', 'stamp_receipt', 'count_receipts', 'note_receipts',
                    'stamp_delivery', 'stamp_presence', 'rename_presence'
                )
    ) f;

    execute format('revoke all on table %s, %s, %s from public', tables, settings, rates);
    execute format('revoke all on function %s from public', made);
    for grantee in
        select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role')
    loop
        execute format('revoke all on table %s, %s, %s from %I', tables, settings, rates, grantee);
        execute format('revoke all on function %s from %I', made, grantee);
        if grantee <> 'anon' then
            if not has_schema_privilege(grantee, 'public', 'usage') then
                execute format('grant usage on schema public to %I', grantee);
            end if;
            execute format('grant execute on function %s, %s to %I', callable, helping, grantee);
        end if;
    end loop;
    if to_regrole('service_role') is not null then
        execute format('grant all on table %s to service_role', tables);
        execute format('grant select, update on table %s to service_role', settings);
        execute format('grant execute on function %s to service_role', serving);
    end if;
    if to_regrole('authenticated') is not null then
        execute format('grant select on table %s to authenticated', tables);
        grant update (full_name, username, avatar_url) on table public.users to authenticated;
        grant update (full_name) on table public.customers to authenticated;
        grant update (title, is_archived) on table public.conversations to authenticated;
        grant update (muted_until, archived_at) on table public.conversation_participants to authenticated;
        grant insert (
            id, conversation_id, sender_id, sender_customer_id, receiver_id, content, message_type, reply_to_id,
            attachments, client_message_id
        ) on table public.messages to authenticated;
        grant update (content, attachments, deleted_at) on table public.messages to authenticated;
        grant insert (message_id, conversation_id, user_id, customer_id, emoji), delete
            on table public.message_reactions to authenticated;
        grant insert (message_id, conversation_id, read_by_user_id, read_by_customer_id)
            on table public.message_read_receipts to authenticated;
        grant insert (
            user_id, email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone
        ) on table public.notification_preferences to authenticated;
        grant update (
            email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone
        ) on table public.notification_preferences to authenticated;
    end if;
end
$do$;

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
