-- messages, and what people do with them: reactions, read receipts, delivery.
-- Re-runnable; leaves tables that Rowcast made as they are.
--
-- Triggers stamp what clients may not say: created_at grows within a conversation in the order of commits, no two equal;
-- names and roles of senders are those of the moment. A deleted message keeps its row, without content.
-- The text index is over an expression: a generated column would not be in the log.

create or replace function rowcast.are_attachments(attachments jsonb) returns boolean
language plpgsql
immutable
parallel safe
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    attachment jsonb;
begin
    if jsonb_typeof(attachments) is distinct from 'array' or jsonb_array_length(attachments) > 10 then
        return false;
    end if;
    for attachment in select value from jsonb_array_elements(attachments) loop
        if jsonb_typeof(attachment) <> 'object'
            or attachment - '{url,name,size,mime_type}'::text[] <> '{}'
            or jsonb_typeof(attachment -> 'url') is distinct from 'string'
            or octet_length(attachment ->> 'url') not between 1 and 2048
            -- A link that a client would run is no file: http and https, or a path without a scheme.
            or attachment ->> 'url' !~* '^(https?://|[^:]*($|[/?#]))'
            or coalesce(jsonb_typeof(attachment -> 'name'), 'null') not in ('string', 'null')
            or octet_length(attachment ->> 'name') > 1024
            or coalesce(jsonb_typeof(attachment -> 'mime_type'), 'null') not in ('string', 'null')
            or octet_length(attachment ->> 'mime_type') > 255
            or coalesce(jsonb_typeof(attachment -> 'size'), 'null') not in ('number', 'null')
            -- Whole, and within what programs read as a number: one that they cannot read spoils every list it is in.
            or attachment ->> 'size' !~ '^[0-9]{1,15}$'
        then
            return false;
        end if;
    end loop;
    return true;
end
$fn$;
comment on function rowcast.are_attachments(jsonb) is 'Whether this is a list of at most ten attachments: url, name, size, mime_type. Made by Rowcast.';
revoke all on function rowcast.are_attachments(jsonb) from public;

do $do$
begin
    if to_regclass('public.messages') is null then
        create table public.messages (
            id uuid not null default gen_random_uuid() constraint messages_pkey primary key,
            conversation_id uuid not null
                constraint messages_conversation_id_fkey references public.conversations (id) on delete cascade,
            sender_id uuid constraint messages_sender_id_fkey references public.users (id),
            sender_customer_id uuid constraint messages_sender_customer_id_fkey references public.customers (id),
            sender_type text not null
                constraint messages_sender_type_check
                check (sender_type = case when sender_customer_id is null then 'staff' else 'customer' end),
            receiver_id uuid constraint messages_receiver_id_fkey references public.users (id) on delete set null,
            content text not null default '',
            message_type text not null default 'text'
                constraint messages_message_type_check check (message_type in ('text', 'image', 'file', 'system')),
            reply_to_id uuid constraint messages_reply_to_id_fkey references public.messages (id) on delete set null,
            attachments jsonb not null default '[]'
                constraint messages_attachments_check check (rowcast.are_attachments(attachments)),
            client_message_id text
                constraint messages_client_message_id_check check (octet_length(client_message_id) between 1 and 128),
            edited_at timestamptz,
            deleted_at timestamptz,
            created_at timestamptz not null default clock_timestamp(),
            updated_at timestamptz not null default now(),
            sender_name text,
            sender_role text,
            inserted_in xid8 not null default pg_current_xact_id(),
            constraint messages_sender_check check (num_nonnulls(sender_id, sender_customer_id) = 1),
            constraint messages_content_check check (
                octet_length(content) <= 65536 and (content <> '' or deleted_at is not null or attachments <> '[]')
            ),
            constraint messages_deleted_check check (deleted_at is null or (content = '' and attachments = '[]')),
            constraint messages_sender_client_message_id_key unique (sender_id, client_message_id),
            constraint messages_customer_client_message_id_key unique (sender_customer_id, client_message_id),
            constraint messages_conversation_id_created_at_key unique (conversation_id, created_at)
        );
        comment on table public.messages is 'What was said. Made by Rowcast.';
        create index messages_created_at_idx on public.messages (created_at);
        create index messages_receiver_id_idx on public.messages (receiver_id) where receiver_id is not null;
        create index messages_reply_to_id_idx on public.messages (reply_to_id) where reply_to_id is not null;
        create index messages_content_idx on public.messages using gin (to_tsvector('simple'::regconfig, content));
        alter table public.messages replica identity full;
        alter table public.messages enable row level security;
    end if;

    if to_regclass('public.message_reactions') is null then
        create table public.message_reactions (
            id uuid not null default gen_random_uuid() constraint message_reactions_pkey primary key,
            message_id uuid not null
                constraint message_reactions_message_id_fkey references public.messages (id) on delete cascade,
            conversation_id uuid not null
                constraint message_reactions_conversation_id_fkey references public.conversations (id) on delete cascade,
            user_id uuid constraint message_reactions_user_id_fkey references public.users (id) on delete cascade,
            customer_id uuid
                constraint message_reactions_customer_id_fkey references public.customers (id) on delete cascade,
            emoji text not null constraint message_reactions_emoji_check check (octet_length(emoji) between 1 and 64),
            created_at timestamptz not null default now(),
            constraint message_reactions_person_check check (num_nonnulls(user_id, customer_id) = 1),
            constraint message_reactions_user_key unique (message_id, user_id, emoji),
            constraint message_reactions_customer_key unique (message_id, customer_id, emoji)
        );
        comment on table public.message_reactions is 'Who reacted to which message with what. Made by Rowcast.';
        create index message_reactions_conversation_id_idx on public.message_reactions (conversation_id);
        create index message_reactions_user_id_idx on public.message_reactions (user_id);
        create index message_reactions_customer_id_idx on public.message_reactions (customer_id);
        alter table public.message_reactions replica identity full;
        alter table public.message_reactions enable row level security;
    end if;

    if to_regclass('public.message_read_receipts') is null then
        create table public.message_read_receipts (
            id uuid not null default gen_random_uuid() constraint message_read_receipts_pkey primary key,
            message_id uuid not null
                constraint message_read_receipts_message_id_fkey references public.messages (id) on delete cascade,
            conversation_id uuid not null
                constraint message_read_receipts_conversation_id_fkey
                references public.conversations (id) on delete cascade,
            read_by_user_id uuid
                constraint message_read_receipts_read_by_user_id_fkey references public.users (id) on delete cascade,
            read_by_customer_id uuid
                constraint message_read_receipts_read_by_customer_id_fkey
                references public.customers (id) on delete cascade,
            read_at timestamptz not null default now(),
            constraint message_read_receipts_person_check check (num_nonnulls(read_by_user_id, read_by_customer_id) = 1),
            constraint message_read_receipts_user_key unique (message_id, read_by_user_id),
            constraint message_read_receipts_customer_key unique (message_id, read_by_customer_id)
        );
        comment on table public.message_read_receipts is 'Who has read which message. Made by Rowcast.';
        create index message_read_receipts_conversation_id_idx on public.message_read_receipts (conversation_id);
        create index message_read_receipts_user_id_idx on public.message_read_receipts (read_by_user_id);
        create index message_read_receipts_customer_id_idx on public.message_read_receipts (read_by_customer_id);
        alter table public.message_read_receipts replica identity full;
        alter table public.message_read_receipts enable row level security;
    end if;

    if to_regclass('public.message_delivery_status') is null then
        create table public.message_delivery_status (
            id uuid not null default gen_random_uuid() constraint message_delivery_status_pkey primary key,
            message_id uuid not null
                constraint message_delivery_status_message_id_fkey references public.messages (id) on delete cascade,
            conversation_id uuid not null
                constraint message_delivery_status_conversation_id_fkey
                references public.conversations (id) on delete cascade,
            status text not null default 'sent'
                constraint message_delivery_status_status_check
                check (status in ('sent', 'delivered', 'read', 'failed')),
            recipient_type text not null
                constraint message_delivery_status_recipient_type_check check (recipient_type in ('customer', 'staff')),
            recipient_id uuid not null,
            delivered_at timestamptz,
            read_at timestamptz,
            failed_reason text
                constraint message_delivery_status_failed_reason_check check (octet_length(failed_reason) <= 1000),
            updated_at timestamptz not null default now(),
            constraint message_delivery_status_recipient_key unique (message_id, recipient_type, recipient_id)
        );
        comment on table public.message_delivery_status is 'How far a message has come to each of its recipients. Made by Rowcast.';
        create index message_delivery_status_conversation_id_idx on public.message_delivery_status (conversation_id);
        create index message_delivery_status_open_idx
            on public.message_delivery_status (recipient_id, recipient_type) where status in ('sent', 'failed');
        alter table public.message_delivery_status enable row level security;
    end if;
end
$do$;
