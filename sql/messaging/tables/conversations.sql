-- conversations, and who takes part in them.
-- Re-runnable; leaves tables that Rowcast made as they are.
--
-- conversations.participants repeats conversation_participants for policies and filters over an array: the ids, as text,
-- of those who take part now. A trigger keeps it.
--
-- conversation_participants.last_read_at is a promise: everything that others have sent until then is read, and has a
-- receipt. What is unread is looked for after it only.

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
