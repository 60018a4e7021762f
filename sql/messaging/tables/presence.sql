-- Who types, who is there, and how people want to be notified.
-- Re-runnable; leaves tables that Rowcast made as they are.
--
-- user_presence.expires_at is a lease: whoever is not offline when it is over is made offline. is_automatic says that
-- the status was set by rule, and not by the person. Leases are renewed all the time: no index has what changes with
-- them, and each page has room for the next version of its rows, so that a renewal touches nothing but its row.

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
