-- Which functions happen with which writes.
-- Re-runnable.

create or replace trigger users_stamp before update on public.users
    for each row execute function rowcast.stamp_updated_at();
create or replace trigger customers_stamp before update on public.customers
    for each row execute function rowcast.stamp_updated_at();
create or replace trigger conversations_stamp before update on public.conversations
    for each row execute function rowcast.stamp_updated_at();
create or replace trigger notification_preferences_stamp before update on public.notification_preferences
    for each row execute function rowcast.stamp_updated_at();

create or replace trigger conversation_participants_joined after insert on public.conversation_participants
    referencing new table as changed
    for each statement execute function rowcast.keep_participants();
create or replace trigger conversation_participants_changed after update on public.conversation_participants
    referencing old table as before new table as changed
    for each statement execute function rowcast.keep_participants();
create or replace trigger conversation_participants_removed after delete on public.conversation_participants
    referencing old table as changed
    for each statement execute function rowcast.keep_participants();

create or replace trigger messages_stamp before insert on public.messages
    for each row execute function rowcast.stamp_message();
create or replace trigger messages_note after insert on public.messages
    for each row execute function rowcast.note_message();
create or replace trigger messages_stamp_change before update on public.messages
    for each row execute function rowcast.stamp_message_change();

create or replace trigger message_reactions_stamp before insert on public.message_reactions
    for each row execute function rowcast.stamp_reaction();

create or replace trigger message_read_receipts_count before insert on public.message_read_receipts
    for each statement execute function rowcast.count_receipts();
-- What functions of the set have checked for all rows at once is not checked again for each: nobody but their owner may
-- spend. Whoever else writes a receipt is asked.
create or replace trigger message_read_receipts_stamp before insert on public.message_read_receipts
    for each row
    when (
        new.conversation_id is null
        or not has_function_privilege('rowcast.spend(text, uuid, uuid, uuid)'::regprocedure, 'execute')
    )
    execute function rowcast.stamp_receipt();
create or replace trigger message_read_receipts_note after insert on public.message_read_receipts
    referencing new table as made
    for each statement execute function rowcast.note_receipts();

create or replace trigger message_delivery_status_stamp before update on public.message_delivery_status
    for each row execute function rowcast.stamp_delivery();

create or replace trigger users_renamed after update of username, full_name on public.users
    for each row
    when ((old.username, old.full_name) is distinct from (new.username, new.full_name))
    execute function rowcast.rename_presence();
create or replace trigger customers_renamed after update of full_name on public.customers
    for each row
    when (old.full_name is distinct from new.full_name)
    execute function rowcast.rename_presence();

create or replace trigger user_presence_stamp before insert on public.user_presence
    for each row execute function rowcast.stamp_presence();
-- That somebody is still there is no news, and costs as little as it can.
create or replace trigger user_presence_stamp_change before update on public.user_presence
    for each row
    when (
        (old.user_id, old.customer_id, old.status, old.metadata, old.name, old.is_automatic, old.updated_at)
        is distinct from
        (new.user_id, new.customer_id, new.status, new.metadata, new.name, new.is_automatic, new.updated_at)
    )
    execute function rowcast.stamp_presence();
