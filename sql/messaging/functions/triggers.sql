-- What happens with every write, by whatever way it comes.
-- Re-runnable.
--
-- Those that are security definer read and write what the writer may not: other people's rows of the same conversation.

create or replace function rowcast.stamp_updated_at() returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
begin
    new.updated_at := now();
    return new;
end
$fn$;
comment on function rowcast.stamp_updated_at() is 'Stamps updated_at. Made by Rowcast.';

-- Security definer: conversations.participants is nobody's to write.
create or replace function rowcast.keep_participants() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    -- Whoever reads or mutes changes nothing here, and waits for nobody.
    if tg_op = 'UPDATE' then
        if not exists (
            select
            from changed p
            left join before b on b.id = p.id
            where (p.conversation_id, p.user_id, p.customer_id, p.left_at is null)
                is distinct from (b.conversation_id, b.user_id, b.customer_id, b.left_at is null)
        ) then
            return null;
        end if;
    end if;
    -- Whoever changes participants of one conversation at the same time waits here, and then sees what the other did.
    perform from public.conversations c
    where c.id in (select p.conversation_id from changed p)
    order by c.id
    for no key update;
    update public.conversations c
    set participants = now_there.ids
    from (
        select
            changed_one.conversation_id,
            array(
                select coalesce(p.user_id, p.customer_id)::text
                from public.conversation_participants p
                where p.conversation_id = changed_one.conversation_id and p.left_at is null
                order by 1
            ) as ids
        from (select distinct p.conversation_id from changed p) changed_one
    ) now_there
    where c.id = now_there.conversation_id and c.participants is distinct from now_there.ids;
    return null;
end
$fn$;
comment on function rowcast.keep_participants() is 'Keeps conversations.participants. Made by Rowcast.';

-- Security definer: it locks the conversation, and looks at messages and profiles whatever the writer sees.
create or replace function rowcast.stamp_message() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    last_message_at timestamptz;
begin
    if num_nulls(new.sender_id, new.sender_customer_id) = 2 then
        new.sender_id := rowcast.caller_user_id();
        new.sender_customer_id := rowcast.caller_customer_id();
    end if;
    perform rowcast.person(new.sender_id, new.sender_customer_id);
    if new.message_type = 'system' and not (rowcast.caller_is_service() or rowcast.caller_is_staff()) then
        raise exception using errcode = '42501', message = 'messages of the system are not for people to write';
    end if;
    perform rowcast.require_conversation(new.conversation_id, true);
    perform rowcast.make_profile();
    if octet_length(new.content) > 65536 then
        raise exception using errcode = '22001', message = 'the content is larger than 65536 bytes';
    end if;
    if new.reply_to_id is not null and not exists (
        select from public.messages m where m.id = new.reply_to_id and m.conversation_id = new.conversation_id
    ) then
        raise exception using errcode = 'PT404', message = 'there is no such message to reply to';
    end if;
    if new.receiver_id is not null and not exists (
        select from public.conversation_participants p
        where p.conversation_id = new.conversation_id and p.user_id = new.receiver_id and p.left_at is null
    ) then
        raise exception using errcode = 'PT404', message = 'there is no such receiver in this conversation';
    end if;
    perform rowcast.spend('messages_per_minute', new.sender_id, new.sender_customer_id, null);

    -- Writers of one conversation take turns until they commit, so times grow in the order of commits.
    select c.last_message_at into last_message_at
    from public.conversations c
    where c.id = new.conversation_id
    for no key update;
    -- The writer may have left while this waited.
    perform rowcast.require_conversation(new.conversation_id, true);
    -- Those of this very statement are not noted yet.
    new.created_at := greatest(
        clock_timestamp(),
        last_message_at + interval '1 microsecond',
        (select max(m.created_at) from public.messages m where m.conversation_id = new.conversation_id)
            + interval '1 microsecond'
    );
    new.updated_at := new.created_at;
    new.edited_at := null;
    new.deleted_at := null;
    new.inserted_in := pg_current_xact_id();
    if new.sender_customer_id is null then
        new.sender_type := 'staff';
        select coalesce(u.full_name, u.username), u.role into new.sender_name, new.sender_role
        from public.users u where u.id = new.sender_id;
    else
        new.sender_type := 'customer';
        new.sender_role := 'customer';
        select p.full_name into new.sender_name from public.customers p where p.id = new.sender_customer_id;
    end if;
    return new;
end
$fn$;
comment on function rowcast.stamp_message() is 'Checks a new message and stamps what its sender may not say. Made by Rowcast.';

-- Security definer: the conversation, delivery and typing are nobody's to write directly.
create or replace function rowcast.note_message() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    update public.conversations c
    set last_message_id = new.id, last_message_at = new.created_at
    where c.id = new.conversation_id and (c.last_message_at is null or c.last_message_at < new.created_at);

    insert into public.message_delivery_status (message_id, conversation_id, recipient_type, recipient_id)
    select
        new.id,
        new.conversation_id,
        case when p.customer_id is null then 'staff' else 'customer' end,
        coalesce(p.user_id, p.customer_id)
    from public.conversation_participants p
    where p.conversation_id = new.conversation_id
        and p.left_at is null
        and (p.user_id = new.sender_id or p.customer_id = new.sender_customer_id) is not true;

    delete from public.message_typing_indicators t
    where t.conversation_id = new.conversation_id
        and (t.user_id = new.sender_id or t.customer_id = new.sender_customer_id);
    return null;
end
$fn$;
comment on function rowcast.note_message() is 'Notes a new message: the conversation''s last, its recipients, and that its sender types no longer. Made by Rowcast.';

create or replace function rowcast.stamp_message_change() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    if old.deleted_at is not null or new.deleted_at is not null then
        new.deleted_at := coalesce(old.deleted_at, clock_timestamp());
        new.content := '';
        new.attachments := '[]';
    elsif new.content <> old.content or new.attachments <> old.attachments then
        if octet_length(new.content) > 65536 then
            raise exception using errcode = '22001', message = 'the content is larger than 65536 bytes';
        end if;
        perform rowcast.spend('changes_per_minute', old.sender_id, old.sender_customer_id, null);
        new.edited_at := clock_timestamp();
    end if;
    new.updated_at := clock_timestamp();
    return new;
end
$fn$;
comment on function rowcast.stamp_message_change() is 'Stamps an edited or deleted message; a deleted one stays deleted. Made by Rowcast.';

-- Security definer: it finds the message's conversation whatever the writer sees, and then asks whether they see it.
create or replace function rowcast.stamp_reaction() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message record;
begin
    if num_nulls(new.user_id, new.customer_id) = 2 then
        new.user_id := rowcast.caller_user_id();
        new.customer_id := rowcast.caller_customer_id();
    end if;
    select m.conversation_id, m.deleted_at into message from public.messages m where m.id = new.message_id;
    if message.conversation_id is null or not rowcast.may_see(message.conversation_id) then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    if message.deleted_at is not null then
        raise exception using errcode = '22023', message = 'the message has been deleted';
    end if;
    perform rowcast.make_profile();
    perform rowcast.spend('changes_per_minute', new.user_id, new.customer_id, null);
    if (
        select count(*) >= 20
        from public.message_reactions r
        where r.message_id = new.message_id
            and r.emoji <> new.emoji
            and (r.user_id = new.user_id or r.customer_id = new.customer_id)
    ) then
        raise exception using errcode = '22023', message = 'nobody reacts to a message with more than 20 emoji';
    end if;
    new.conversation_id := message.conversation_id;
    new.created_at := now();
    return new;
end
$fn$;
comment on function rowcast.stamp_reaction() is 'Checks a new reaction and stamps its conversation. Made by Rowcast.';

-- Security definer: see rowcast.stamp_reaction().
create or replace function rowcast.stamp_receipt() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message record;
begin
    if num_nulls(new.read_by_user_id, new.read_by_customer_id) = 2 then
        new.read_by_user_id := rowcast.caller_user_id();
        new.read_by_customer_id := rowcast.caller_customer_id();
    end if;
    select m.conversation_id, m.sender_id, m.sender_customer_id into message
    from public.messages m where m.id = new.message_id;
    if message.conversation_id is null or not rowcast.may_see(message.conversation_id) then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    if message.sender_id = new.read_by_user_id or message.sender_customer_id = new.read_by_customer_id then
        raise exception using errcode = '42501', message = 'nobody reads their own message';
    end if;
    new.conversation_id := message.conversation_id;
    new.read_at := now();
    return new;
end
$fn$;
comment on function rowcast.stamp_receipt() is 'Checks a new read receipt and stamps its conversation and time. Made by Rowcast.';

-- One statement is one use, however many receipts it makes.
create or replace function rowcast.count_receipts() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    perform rowcast.make_profile();
    perform rowcast.spend('receipts_per_minute', rowcast.caller_user_id(), rowcast.caller_customer_id(), null);
    return null;
end
$fn$;
comment on function rowcast.count_receipts() is 'Counts a statement that makes read receipts. Made by Rowcast.';

-- Security definer: delivery and last_read_at are nobody's to write directly.
create or replace function rowcast.note_receipts() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    read_until record;
begin
    insert into public.message_delivery_status as s
        (message_id, conversation_id, status, recipient_type, recipient_id, delivered_at, read_at)
    select
        r.message_id,
        r.conversation_id,
        'read',
        case when r.read_by_customer_id is null then 'staff' else 'customer' end,
        coalesce(r.read_by_user_id, r.read_by_customer_id),
        r.read_at,
        r.read_at
    from made r
    order by r.message_id, coalesce(r.read_by_user_id, r.read_by_customer_id)
    on conflict on constraint message_delivery_status_recipient_key do update
    set status = 'read', delivered_at = coalesce(s.delivered_at, excluded.read_at), read_at = excluded.read_at
    where s.status <> 'read';

    -- Everything is read up to the message before the first that is not.
    -- One by one, by an index: how many receipts the first call of a session has made says nothing of those that follow.
    for read_until in
        select reader.id, until.moment
        from (
            select distinct r.conversation_id, r.read_by_user_id, r.read_by_customer_id from made r
        ) made_for
        cross join lateral (
            select p.*
            from public.conversation_participants p
            where p.conversation_id = made_for.conversation_id
                and (p.user_id = made_for.read_by_user_id or p.customer_id = made_for.read_by_customer_id)
            offset 0
        ) reader
        left join lateral (
            select m.created_at
            from public.messages m
            where m.conversation_id = reader.conversation_id
                and m.created_at > coalesce(reader.last_read_at, '-infinity')
                and m.deleted_at is null
                and (m.sender_id = reader.user_id or m.sender_customer_id = reader.customer_id) is not true
                and not exists (
                    select from public.message_read_receipts r
                    where r.message_id = m.id
                        and (r.read_by_user_id = reader.user_id or r.read_by_customer_id = reader.customer_id)
                )
            order by m.created_at
            limit 1
        ) unread on true
        cross join lateral (
            select max(m.created_at) as moment
            from public.messages m
            where m.conversation_id = reader.conversation_id
                and m.created_at < coalesce(unread.created_at, 'infinity')
        ) until
        order by reader.id
    loop
        update public.conversation_participants p
        set last_read_at = read_until.moment
        where p.id = read_until.id and (p.last_read_at is null or p.last_read_at < read_until.moment);
    end loop;
    return null;
end
$fn$;
comment on function rowcast.note_receipts() is 'Notes new read receipts in delivery and in last_read_at. Made by Rowcast.';

create or replace function rowcast.stamp_delivery() returns trigger
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
begin
    if (old.status, new.status) not in (
        ('sent', 'delivered'), ('sent', 'read'), ('sent', 'failed'), ('failed', 'delivered'), ('failed', 'read'),
        ('delivered', 'read')
    ) and old.status <> new.status then
        raise exception using
            errcode = '23514',
            message = format('a delivery goes forward: it was %s and cannot be %s', old.status, new.status);
    end if;
    if new.status in ('delivered', 'read') then
        new.delivered_at := coalesce(old.delivered_at, new.delivered_at, now());
        new.failed_reason := null;
    end if;
    if new.status = 'read' then
        new.read_at := coalesce(old.read_at, new.read_at, now());
    end if;
    new.updated_at := now();
    return new;
end
$fn$;
comment on function rowcast.stamp_delivery() is 'Lets a delivery go forward only, and stamps its times. Made by Rowcast.';

-- Security definer: names come from profiles whatever the writer sees.
create or replace function rowcast.stamp_presence() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    if new.customer_id is null then
        select coalesce(u.username, u.full_name) into new.name from public.users u where u.id = new.user_id;
    else
        select c.full_name into new.name from public.customers c where c.id = new.customer_id;
    end if;
    new.updated_at := greatest(clock_timestamp(), new.last_seen_at);
    return new;
end
$fn$;
comment on function rowcast.stamp_presence() is 'Stamps the name of who is there, and when there was news of them. Made by Rowcast.';

create or replace function rowcast.rename_presence() returns trigger
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    -- The name itself is stamped there.
    if tg_table_name = 'users' then
        update public.user_presence p set updated_at = clock_timestamp() where p.user_id = new.id;
    else
        update public.user_presence p set updated_at = clock_timestamp() where p.customer_id = new.id;
    end if;
    return null;
end
$fn$;
comment on function rowcast.rename_presence() is 'Gives the presence of somebody their new name. Made by Rowcast.';

revoke all on function
    rowcast.stamp_updated_at(), rowcast.keep_participants(), rowcast.stamp_message(), rowcast.note_message(),
    rowcast.stamp_message_change(), rowcast.stamp_reaction(), rowcast.stamp_receipt(), rowcast.count_receipts(),
    rowcast.note_receipts(), rowcast.stamp_delivery(), rowcast.stamp_presence(), rowcast.rename_presence()
from public;
