-- Sending, editing and deleting messages, and reacting to them.
-- Re-runnable.
--
-- Policies and triggers say who may do what, so these run with the caller's rights; what they add is a plain answer.

create or replace function public.send_message(
    conversation_id uuid,
    content text,
    message_type text default 'text',
    reply_to_id uuid default null,
    attachments jsonb default '[]',
    client_message_id text default null,
    receiver_id uuid default null
) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    message public.messages;
begin
    select * into person from rowcast.person(null, null);
    perform rowcast.require_conversation(send_message.conversation_id, true);
    -- A second look is for the call that came at the same moment, and has committed by then.
    for attempt in 1..2 loop
        if send_message.client_message_id is not null then
            select m.* into message
            from public.messages m
            where m.client_message_id = send_message.client_message_id
                and (m.sender_id = person.user_id or m.sender_customer_id = person.customer_id);
            if found then
                if message.conversation_id <> send_message.conversation_id then
                    raise exception using
                        errcode = '22023', message = 'this client_message_id is one of a message in another conversation';
                end if;
                return message;
            end if;
        end if;
        if attempt = 1 then
            insert into public.messages as m (
                conversation_id, sender_id, sender_customer_id, receiver_id, content, message_type, reply_to_id,
                attachments, client_message_id
            )
            values (
                send_message.conversation_id,
                person.user_id,
                person.customer_id,
                send_message.receiver_id,
                coalesce(send_message.content, ''),
                coalesce(send_message.message_type, 'text'),
                send_message.reply_to_id,
                coalesce(send_message.attachments, '[]'),
                send_message.client_message_id
            )
            on conflict do nothing
            returning m.* into message;
            if found then
                return message;
            end if;
        end if;
    end loop;
    raise exception using
        errcode = '22023', message = 'this client_message_id is one of a message that cannot be seen any more';
end
$fn$;
comment on function public.send_message(uuid, text, text, uuid, jsonb, text, uuid) is 'Sends a message; with the same client_message_id once only. Made by Rowcast.';

create or replace function public.edit_message(message_id uuid, content text) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    message := rowcast.own_message(edit_message.message_id);
    if message.deleted_at is null then
        update public.messages m
        set content = coalesce(edit_message.content, '')
        where m.id = edit_message.message_id and m.deleted_at is null
        returning m.* into message;
        if found then
            return message;
        end if;
    end if;
    raise exception using errcode = '22023', message = 'the message has been deleted';
end
$fn$;
comment on function public.edit_message(uuid, text) is 'Gives a message of the caller''s another content. Made by Rowcast.';

create or replace function public.delete_message(message_id uuid) returns public.messages
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    message := rowcast.own_message(delete_message.message_id);
    if message.deleted_at is null then
        update public.messages m
        set deleted_at = now()
        where m.id = delete_message.message_id and m.deleted_at is null;
        select m.* into message from public.messages m where m.id = delete_message.message_id;
    end if;
    return message;
end
$fn$;
comment on function public.delete_message(uuid) is 'Deletes a message of the caller''s: its row stays, without content. Made by Rowcast.';

create or replace function rowcast.own_message(message_id uuid) returns public.messages
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    message public.messages;
begin
    select m.* into message from public.messages m where m.id = own_message.message_id;
    if not found then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    if (
        message.sender_id = rowcast.caller_user_id() or message.sender_customer_id = rowcast.caller_customer_id()
    ) is not true and not rowcast.caller_is_service() then
        raise exception using errcode = '42501', message = 'only its sender may change a message';
    end if;
    return message;
end
$fn$;
comment on function rowcast.own_message(uuid) is 'A message that the caller may change, or a refusal. Made by Rowcast.';

create or replace function public.add_message_reaction(message_id uuid, emoji text) returns public.message_reactions
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
    reaction public.message_reactions;
begin
    select * into person from rowcast.person(null, null);
    insert into public.message_reactions as r (message_id, user_id, customer_id, emoji)
    values (
        add_message_reaction.message_id, person.user_id, person.customer_id, add_message_reaction.emoji
    )
    on conflict do nothing
    returning r.* into reaction;
    if not found then
        select r.* into reaction
        from public.message_reactions r
        where r.message_id = add_message_reaction.message_id
            and r.emoji = add_message_reaction.emoji
            and (r.user_id = person.user_id or r.customer_id = person.customer_id);
    end if;
    return reaction;
end
$fn$;
comment on function public.add_message_reaction(uuid, text) is 'Reacts to a message; the same reaction twice is one. Made by Rowcast.';

create or replace function public.remove_message_reaction(message_id uuid, emoji text) returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    person record;
begin
    select * into person from rowcast.person(null, null);
    if not exists (select from public.messages m where m.id = remove_message_reaction.message_id) then
        raise exception using errcode = 'PT404', message = 'there is no such message';
    end if;
    delete from public.message_reactions r
    where r.message_id = remove_message_reaction.message_id
        and r.emoji = remove_message_reaction.emoji
        and (r.user_id = person.user_id or r.customer_id = person.customer_id);
    return found;
end
$fn$;
comment on function public.remove_message_reaction(uuid, text) is 'Takes a reaction of the caller''s back; false if there was none. Made by Rowcast.';

revoke all on function
    public.send_message(uuid, text, text, uuid, jsonb, text, uuid), public.edit_message(uuid, text),
    public.delete_message(uuid), rowcast.own_message(uuid), public.add_message_reaction(uuid, text),
    public.remove_message_reaction(uuid, text)
from public;
