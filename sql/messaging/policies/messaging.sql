-- Who sees and writes which rows.
-- Re-runnable.
--
-- Everybody is bound to conversations in which they take part and which they have not left; staff see all. Anon has no
-- policy and no right. What concerns the caller alone stands in `(select …)`, which Postgres evaluates once a statement.
-- What is seen by conversation is written so that Postgres finds it by an index: an array of the own ones, and for staff
-- a range of all; rowcast.staff_from() says why.

drop policy if exists "people see themselves and those they talk to" on public.users;
create policy "people see themselves and those they talk to" on public.users
    for select to authenticated
    using (
        id = (select rowcast.caller_user_id())
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(id, null::uuid)
    );

drop policy if exists "users change their own profile" on public.users;
create policy "users change their own profile" on public.users
    for update to authenticated
    using (id = (select rowcast.caller_user_id()))
    with check (id = (select rowcast.caller_user_id()));

drop policy if exists "people see themselves and the customers they talk to" on public.customers;
create policy "people see themselves and the customers they talk to" on public.customers
    for select to authenticated
    using (
        id = (select rowcast.caller_customer_id())
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(null::uuid, id)
    );

drop policy if exists "customers change their own profile" on public.customers;
create policy "customers change their own profile" on public.customers
    for update to authenticated
    using (id = (select rowcast.caller_customer_id()))
    with check (id = (select rowcast.caller_customer_id()));

drop policy if exists "those who take part see a conversation, and staff all" on public.conversations;
create policy "those who take part see a conversation, and staff all" on public.conversations
    for select to authenticated
    using (
        id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "those who take part name and archive a shared conversation, and staff all" on public.conversations;
create policy "those who take part name and archive a shared conversation, and staff all" on public.conversations
    for update to authenticated
    using (kind <> 'direct' and ((select rowcast.caller_is_staff()) or rowcast.takes_part(id)))
    with check (kind <> 'direct' and ((select rowcast.caller_is_staff()) or rowcast.takes_part(id)));

drop policy if exists "those who take part see who does, and staff all" on public.conversation_participants;
create policy "those who take part see who does, and staff all" on public.conversation_participants
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "people mute and archive their own conversations" on public.conversation_participants;
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

drop policy if exists "those who take part see messages, and staff all" on public.messages;
create policy "those who take part see messages, and staff all" on public.messages
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "those who take part write messages, and staff in support" on public.messages;
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

drop policy if exists "senders change their messages until they are deleted" on public.messages;
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

drop policy if exists "those who take part see reactions, and staff all" on public.message_reactions;
create policy "those who take part see reactions, and staff all" on public.message_reactions
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "people react to messages they see" on public.message_reactions;
create policy "people react to messages they see" on public.message_reactions
    for insert to authenticated
    with check (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

drop policy if exists "people take back their reactions" on public.message_reactions;
create policy "people take back their reactions" on public.message_reactions
    for delete to authenticated
    using (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

drop policy if exists "those who take part see read receipts, and staff all" on public.message_read_receipts;
create policy "those who take part see read receipts, and staff all" on public.message_read_receipts
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "people read messages they see" on public.message_read_receipts;
create policy "people read messages they see" on public.message_read_receipts
    for insert to authenticated
    with check (
        (read_by_user_id = (select rowcast.caller_user_id()) or read_by_customer_id = (select rowcast.caller_customer_id()))
        and ((select rowcast.caller_is_staff()) or rowcast.takes_part(conversation_id))
    );

drop policy if exists "those who take part see who types, and staff all" on public.message_typing_indicators;
create policy "those who take part see who types, and staff all" on public.message_typing_indicators
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "those who take part see deliveries, and staff all" on public.message_delivery_status;
create policy "those who take part see deliveries, and staff all" on public.message_delivery_status
    for select to authenticated
    using (
        conversation_id = any (array(select rowcast.own_conversation_ids()))
        or (select rowcast.caller_is_staff())
            and conversation_id between (select rowcast.staff_from()) and (select rowcast.staff_to())
    );

drop policy if exists "people see who is there of those they talk to, and staff all" on public.user_presence;
create policy "people see who is there of those they talk to, and staff all" on public.user_presence
    for select to authenticated
    using (
        (user_id = (select rowcast.caller_user_id()) or customer_id = (select rowcast.caller_customer_id()))
        or (select rowcast.caller_is_staff())
        or rowcast.shares_conversation(user_id, customer_id)
    );

drop policy if exists "users see their own preferences" on public.notification_preferences;
create policy "users see their own preferences" on public.notification_preferences
    for select to authenticated
    using (user_id = (select rowcast.caller_user_id()));

drop policy if exists "users make their own preferences" on public.notification_preferences;
create policy "users make their own preferences" on public.notification_preferences
    for insert to authenticated
    with check (user_id = (select rowcast.caller_user_id()));

drop policy if exists "users change their own preferences" on public.notification_preferences;
create policy "users change their own preferences" on public.notification_preferences
    for update to authenticated
    using (user_id = (select rowcast.caller_user_id()))
    with check (user_id = (select rowcast.caller_user_id()));
