-- Messages between coaches and their clients, in an application's own tables: who takes part in a conversation stands
-- in the array `participants`, and every policy reads it there.

create table public.conversations (
    id uuid not null default gen_random_uuid() constraint conversations_pkey primary key,
    participants text[] not null,
    last_message_id uuid,
    last_message_at timestamptz,
    is_archived boolean default false,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
comment on table public.conversations is 'Who talks with whom.';
create index conversations_participants_idx on public.conversations using gin (participants);

-- Where there is a table of accounts, such as auth.users, sender_id and receiver_id reference it.
create table public.messages (
    id uuid not null default gen_random_uuid() constraint messages_pkey primary key,
    conversation_id uuid not null
        constraint messages_conversation_id_fkey references public.conversations (id) on delete cascade,
    sender_id uuid not null,
    receiver_id uuid,
    content text not null,
    message_type varchar(20) default 'text',
    file_url text,
    file_name text,
    file_size integer,
    read_at timestamptz,
    edited_at timestamptz,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
comment on table public.messages is 'What was said.';
create index messages_conversation_id_idx on public.messages (conversation_id, created_at);

alter table public.conversations enable row level security;
alter table public.messages enable row level security;

create policy "participants see their conversations" on public.conversations
    for select to authenticated
    using ((select auth.uid())::text = any (participants));

create policy "participants read messages" on public.messages
    for select to authenticated
    using (
        exists (
            select from public.conversations c
            where c.id = messages.conversation_id and (select auth.uid())::text = any (c.participants)
        )
    );

create policy "participants write messages of their own" on public.messages
    for insert to authenticated
    with check (
        sender_id = (select auth.uid())
        and exists (
            select from public.conversations c
            where c.id = messages.conversation_id and (select auth.uid())::text = any (c.participants)
        )
    );

-- The private channel conversation:<id>: joined, heard and spoken in by those who take part.
create policy "participants hear their conversations" on realtime.messages
    for select to authenticated
    using (
        exists (
            select from public.conversations c
            where 'conversation:' || c.id::text = (select realtime.topic())
                and (select auth.uid())::text = any (c.participants)
        )
    );

create policy "participants speak in their conversations" on realtime.messages
    for insert to authenticated
    with check (
        exists (
            select from public.conversations c
            where 'conversation:' || c.id::text = (select realtime.topic())
                and (select auth.uid())::text = any (c.participants)
        )
    );

-- Sends as the caller, who may do no more than the policies let them.
create function public.send_message(conversation_id uuid, content text) returns public.messages
    language sql volatile security invoker set search_path = ''
    as $$
        insert into public.messages (conversation_id, sender_id, content)
        values ($1, (select auth.uid()), $2)
        returning *
    $$;
comment on function public.send_message(uuid, text) is 'Sends a message as the caller.';
revoke all on function public.send_message(uuid, text) from public;
grant execute on function public.send_message(uuid, text) to authenticated;

grant usage on schema public to authenticated;
grant select on public.conversations, public.messages to authenticated;
grant insert on public.messages to authenticated;

-- All that realtime needs: the tables in the publication, and whole old rows, so that policies decide deletes, too.
alter table public.conversations replica identity full;
alter table public.messages replica identity full;
alter publication supabase_realtime add table public.conversations, public.messages;

-- Ann, a coach, and bob, her client.
insert into public.conversations (id, participants) values
    ('c0000000-0000-4000-8000-000000000001',
     array['a0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001']);
