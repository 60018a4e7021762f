-- why:   the tables of the messaging set: people, conversations, messages and what people do with them, who types
--        and who is there; and the limits, which an operator may change.
-- locks: nothing that exists.
-- undo:  drop table (each of them) cascade; (and what people wrote is gone)

do $do$
begin
    if to_regclass('public.users') is null then
        create table public.users (
            id uuid not null constraint users_pkey primary key,
            full_name text constraint users_full_name_check check (octet_length(full_name) <= 400),
            username text
                constraint users_username_key unique
                constraint users_username_check check (octet_length(username) between 1 and 200),
            email text constraint users_email_check check (octet_length(email) <= 400),
            role text constraint users_role_check check (octet_length(role) <= 100),
            avatar_url text constraint users_avatar_url_check check (octet_length(avatar_url) <= 2048 and avatar_url ~* '^(https?://|[^:]*($|[/?#]))'),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table public.users is 'People with accounts. Made by Rowcast.';
        alter table public.users enable row level security;
    end if;

    if to_regclass('public.customers') is null then
        create table public.customers (
            id uuid not null constraint customers_pkey primary key,
            full_name text constraint customers_full_name_check check (octet_length(full_name) <= 400),
            email text constraint customers_email_check check (octet_length(email) <= 400),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table public.customers is 'Customers of a portal, without accounts. Made by Rowcast.';
        alter table public.customers enable row level security;
    end if;
end
$do$;

do $do$
begin
    if to_regclass('public.conversations') is null then
        create table public.conversations (
            id uuid not null default gen_random_uuid() constraint conversations_pkey primary key,
            kind text not null default 'direct'
                constraint conversations_kind_check check (kind in ('direct', 'group', 'support')),
            title text constraint conversations_title_check check (octet_length(title) <= 1000),
            participants text[] not null default '{}',
            customer_id uuid
                constraint conversations_customer_id_fkey references public.customers (id) on delete set null,
            created_by uuid constraint conversations_created_by_fkey references public.users (id) on delete set null,
            last_message_id uuid,
            last_message_at timestamptz,
            is_archived boolean not null default false,
            metadata jsonb not null default '{}'
                constraint conversations_metadata_check
                check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 16384),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table public.conversations is 'What people talk in: direct, group or support. Made by Rowcast.';
        create index conversations_recent_idx on public.conversations (coalesce(last_message_at, created_at) desc);
        create index conversations_customer_id_idx on public.conversations (customer_id);
        create index conversations_support_idx on public.conversations (id) where kind = 'support' and not is_archived;
        create index conversations_created_by_idx on public.conversations (created_by);
        alter table public.conversations replica identity full;
        alter table public.conversations enable row level security;
    end if;

    if to_regclass('public.conversation_participants') is null then
        create table public.conversation_participants (
            id uuid not null default gen_random_uuid() constraint conversation_participants_pkey primary key,
            conversation_id uuid not null
                constraint conversation_participants_conversation_id_fkey
                references public.conversations (id) on delete cascade,
            user_id uuid
                constraint conversation_participants_user_id_fkey references public.users (id) on delete cascade,
            customer_id uuid
                constraint conversation_participants_customer_id_fkey references public.customers (id) on delete cascade,
            role text not null default 'member'
                constraint conversation_participants_role_check check (octet_length(role) between 1 and 100),
            joined_at timestamptz not null default now(),
            left_at timestamptz,
            last_read_at timestamptz,
            muted_until timestamptz,
            archived_at timestamptz,
            constraint conversation_participants_person_check check (num_nonnulls(user_id, customer_id) = 1),
            constraint conversation_participants_user_key unique (conversation_id, user_id),
            constraint conversation_participants_customer_key unique (conversation_id, customer_id)
        );
        comment on table public.conversation_participants is 'Who takes part in which conversation, and who has left it. Made by Rowcast.';
        create index conversation_participants_user_id_idx
            on public.conversation_participants (user_id, conversation_id) where left_at is null;
        create index conversation_participants_customer_id_idx
            on public.conversation_participants (customer_id, conversation_id) where left_at is null;
        alter table public.conversation_participants replica identity full;
        alter table public.conversation_participants enable row level security;
    end if;
end
$do$;

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

do $do$
begin
    if to_regclass('public.message_typing_indicators') is null then
        create table public.message_typing_indicators (
            id uuid not null default gen_random_uuid() constraint message_typing_indicators_pkey primary key,
            conversation_id uuid not null
                constraint message_typing_indicators_conversation_id_fkey
                references public.conversations (id) on delete cascade,
            user_id uuid
                constraint message_typing_indicators_user_id_fkey references public.users (id) on delete cascade,
            customer_id uuid
                constraint message_typing_indicators_customer_id_fkey references public.customers (id) on delete cascade,
            is_typing boolean not null default true,
            started_at timestamptz not null default now(),
            expires_at timestamptz not null default now() + interval '5 seconds',
            updated_at timestamptz not null default now(),
            constraint message_typing_indicators_person_check check (num_nonnulls(user_id, customer_id) = 1),
            constraint message_typing_indicators_user_key unique (conversation_id, user_id),
            constraint message_typing_indicators_customer_key unique (conversation_id, customer_id)
        );
        comment on table public.message_typing_indicators is 'Who is typing in which conversation. Made by Rowcast.';
        create index message_typing_indicators_expires_at_idx on public.message_typing_indicators (expires_at);
        create index message_typing_indicators_user_id_idx on public.message_typing_indicators (user_id);
        create index message_typing_indicators_customer_id_idx on public.message_typing_indicators (customer_id);
        alter table public.message_typing_indicators replica identity full;
        alter table public.message_typing_indicators enable row level security;
    end if;

    if to_regclass('public.user_presence') is null then
        create table public.user_presence (
            id uuid not null default gen_random_uuid() constraint user_presence_pkey primary key,
            user_id uuid
                constraint user_presence_user_id_key unique
                constraint user_presence_user_id_fkey references public.users (id) on delete cascade,
            customer_id uuid
                constraint user_presence_customer_id_key unique
                constraint user_presence_customer_id_fkey references public.customers (id) on delete cascade,
            status text not null default 'online'
                constraint user_presence_status_check check (status in ('online', 'away', 'busy', 'offline')),
            last_seen_at timestamptz not null default now(),
            metadata jsonb not null default '{}'
                constraint user_presence_metadata_check
                check (jsonb_typeof(metadata) = 'object' and octet_length(metadata::text) <= 4096),
            name text,
            active_at timestamptz,
            expires_at timestamptz,
            is_automatic boolean not null default false,
            updated_at timestamptz not null default now(),
            constraint user_presence_person_check check (num_nonnulls(user_id, customer_id) = 1)
        ) with (fillfactor = 45);
        comment on table public.user_presence is 'Who is there, and when they were last. Made by Rowcast.';
        create index user_presence_present_idx on public.user_presence (id) where status <> 'offline';
        alter table public.user_presence enable row level security;
    end if;

    if to_regclass('public.notification_preferences') is null then
        create table public.notification_preferences (
            user_id uuid not null
                constraint notification_preferences_pkey primary key
                constraint notification_preferences_user_id_fkey references public.users (id) on delete cascade,
            email boolean not null default true,
            push boolean not null default true,
            in_app boolean not null default true,
            new_message boolean not null default true,
            mentions boolean not null default true,
            quiet_hours_start time,
            quiet_hours_end time,
            time_zone text not null default 'UTC'
                constraint notification_preferences_time_zone_check check (octet_length(time_zone) between 1 and 100),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now(),
            constraint notification_preferences_quiet_hours_check
                check (num_nonnulls(quiet_hours_start, quiet_hours_end) <> 1)
        );
        comment on table public.notification_preferences is 'How users want to be notified, and when not. Made by Rowcast.';
        alter table public.notification_preferences enable row level security;
    end if;
end
$do$;

do $do$
begin
    if to_regclass('rowcast.messaging_settings') is null then
        create table rowcast.messaging_settings (
            name text not null constraint messaging_settings_pkey primary key,
            value integer not null constraint messaging_settings_value_check check (value >= 0),
            description text not null
        );
        comment on table rowcast.messaging_settings is 'Limits of the messaging functions; 0 is unlimited. Made by Rowcast.';
        alter table rowcast.messaging_settings enable row level security;
    end if;

    if to_regclass('rowcast.messaging_rates') is null then
        create unlogged table rowcast.messaging_rates (
            kind text not null,
            person_id uuid not null,
            scope uuid not null,
            started_at timestamptz not null,
            used integer not null,
            constraint messaging_rates_pkey primary key (person_id, kind, scope)
        );
        comment on table rowcast.messaging_rates is 'What each person has used of a limit in the minute that began at started_at. Made by Rowcast.';
        create index messaging_rates_started_at_idx on rowcast.messaging_rates (started_at);
        alter table rowcast.messaging_rates enable row level security;
    end if;
end
$do$;

insert into rowcast.messaging_settings (name, value, description) values
    ('messages_per_minute', 120, 'Messages of one person.'),
    ('typing_per_minute', 10, 'Typing starts of one person in one conversation.'),
    ('presence_per_minute', 6, 'Presence updates of one person.'),
    ('receipts_per_minute', 60, 'Calls of one person that make read receipts.'),
    ('changes_per_minute', 120, 'Edits, reactions and new conversations of one person.'),
    ('typing_expiry_seconds_max', 60, 'How long a typing indicator may last without a word.')
on conflict do nothing;
