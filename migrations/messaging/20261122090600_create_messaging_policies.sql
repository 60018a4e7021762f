-- why:   who sees and writes which rows: those who take part in a conversation and have not left it; staff see all.
-- locks: the messaging tables, which are new, for a moment.
-- undo:  drop policy (each of them);

create policy "people see themselves and those they talk to" on public.users
    for select to authenticated
    using (
        id = (select rowcast.caller_user_id())
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(id, null::uuid)
    );

create policy "users change their own profile" on public.users
    for update to authenticated
    using (id = (select rowcast.caller_user_id()))
    with check (id = (select rowcast.caller_user_id()));

create policy "people see themselves and the customers they talk to" on public.customers
    for select to authenticated
    using (
        id = (select rowcast.caller_customer_id())
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(null::uuid, id)
    );

create policy "customers change their own profile" on public.customers
    for update to authenticated
    using (id = (select rowcast.caller_customer_id()))
    with check (id = (select rowcast.caller_customer_id()));

create policy "those who take part see a conversation, and staff all" on public.conversations
    for select to authenticated
    using (
        id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "those who take part name and archive a shared conversation, and staff all" on public.conversations
    for update to authenticated
    using (kind <> 'direct' and ((select rowcast.caller_is_staff()) or rowcast.takes_part(id)))
    with check (kind <> 'direct' and ((select rowcast.caller_is_staff()) or rowcast.takes_part(id)));

create policy "those who take part see who does, and staff all" on public.conversation_participants
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "people mute and archive their own conversations" on public.conversation_participants
    for update to authenticated
    using (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and left_at is null
    )
    with check (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and left_at is null
    );

create policy "those who take part see messages, and staff all" on public.messages
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "those who take part write messages, and staff in support" on public.messages
    for insert to authenticated
    with check (
        (sender_id = (select rowcast.caller_user_id()) or sender_customer_id = (select rowcast.caller_customer_id()))
        and (
            rowcast.takes_part(conversation_id)
            or (select rowcast.caller_is_staff())
            and exists (
                select from public.conversations c where c.id = messages.conversation_id and c.kind = 'support'
            )
        )
    );

create policy "senders change their messages until they are deleted" on public.messages
    for update to authenticated
    using (
        (sender_id = (select rowcast.caller_user_id()) or sender_customer_id = (select rowcast.caller_customer_id()))
        and deleted_at is null
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    )
    with check (
        (sender_id = (select rowcast.caller_user_id()) or sender_customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

create policy "those who take part see reactions, and staff all" on public.message_reactions
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "people react to messages they see" on public.message_reactions
    for insert to authenticated
    with check (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

create policy "people take back their reactions" on public.message_reactions
    for delete to authenticated
    using (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

create policy "those who take part see read receipts, and staff all" on public.message_read_receipts
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "people read messages they see" on public.message_read_receipts
    for insert to authenticated
    with check (
        (read_by_user_id = (select rowcast.caller_user_id()) or read_by_customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

create policy "those who take part see who types, and staff all" on public.message_typing_indicators
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "those who take part see deliveries, and staff all" on public.message_delivery_status
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

create policy "people see who is there of those they talk to, and staff all" on public.user_presence
    for select to authenticated
    using (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(user_id, customer_id)
    );

create policy "users see their own preferences" on public.notification_preferences
    for select to authenticated
    using (user_id = (select rowcast.caller_user_id()));

create policy "users make their own preferences" on public.notification_preferences
    for insert to authenticated
    with check (user_id = (select rowcast.caller_user_id()));

create policy "users change their own preferences" on public.notification_preferences
    for update to authenticated
    using (user_id = (select rowcast.caller_user_id()))
    with check (user_id = (select rowcast.caller_user_id()));
