-- Chats between tutors and students, in an application's own tables: who takes part in a chat stands in a join table,
-- and every policy asks one function about it.

create schema if not exists private;
comment on schema private is 'What policies call; no API serves it.';
grant usage on schema private to authenticated;

create table public.users (
    id uuid not null constraint users_pkey primary key,
    full_name text not null,
    time_zone text not null default 'Europe/Oslo'
);
comment on table public.users is 'People.';

create table public.chats (
    id uuid not null default gen_random_uuid() constraint chats_pkey primary key,
    title text,
    created_at timestamptz not null default now()
);
comment on table public.chats is 'What tutors and students talk in.';

create table public.chat_participants (
    chat_id uuid not null constraint chat_participants_chat_id_fkey references public.chats (id) on delete cascade,
    user_id uuid not null constraint chat_participants_user_id_fkey references public.users (id) on delete cascade,
    last_read_at timestamptz,
    constraint chat_participants_pkey primary key (user_id, chat_id)
);
comment on table public.chat_participants is 'Who takes part in which chat, and how far they have read.';
create index chat_participants_chat_id_idx on public.chat_participants (chat_id);

create table public.messages (
    id uuid not null default gen_random_uuid() constraint messages_pkey primary key,
    chat_id uuid not null constraint messages_chat_id_fkey references public.chats (id) on delete cascade,
    sender_id uuid not null constraint messages_sender_id_fkey references public.users (id),
    content text not null,
    edited_at timestamptz,
    created_at timestamptz not null default now()
);
comment on table public.messages is 'What was said.';
create index messages_chat_id_idx on public.messages (chat_id, created_at);

-- Reads as its owner: the policies of chat_participants call it, and would otherwise lead back to themselves.
create function private.takes_part(chat uuid) returns boolean
    language sql stable security definer set search_path = ''
    as $$
        select exists (
            select from public.chat_participants p where p.chat_id = chat and p.user_id = (select auth.uid())
        )
    $$;
comment on function private.takes_part(uuid) is 'Whether the caller takes part in a chat.';
revoke all on function private.takes_part(uuid) from public;
grant execute on function private.takes_part(uuid) to authenticated;

alter table public.users enable row level security;
alter table public.chats enable row level security;
alter table public.chat_participants enable row level security;
alter table public.messages enable row level security;

create policy "people see whom they chat with" on public.users
    for select to authenticated
    using (
        id = (select auth.uid())
        or exists (select from public.chat_participants p where p.user_id = users.id and private.takes_part(p.chat_id))
    );
create policy "participants see their chats" on public.chats
    for select to authenticated
    using (private.takes_part(id));
create policy "participants see who takes part" on public.chat_participants
    for select to authenticated
    using (private.takes_part(chat_id));
create policy "participants note how far they have read" on public.chat_participants
    for update to authenticated
    using (user_id = (select auth.uid()))
    with check (user_id = (select auth.uid()));
create policy "participants read messages" on public.messages
    for select to authenticated
    using (private.takes_part(chat_id));
create policy "participants write messages of their own" on public.messages
    for insert to authenticated
    with check (sender_id = (select auth.uid()) and private.takes_part(chat_id));
create policy "senders edit their messages" on public.messages
    for update to authenticated
    using (sender_id = (select auth.uid()) and private.takes_part(chat_id))
    with check (sender_id = (select auth.uid()) and private.takes_part(chat_id));

-- The private channel chat:<id>: joined, heard and spoken in by those who take part.
create policy "participants hear their chats" on realtime.messages
    for select to authenticated
    using (
        exists (
            select from public.chat_participants p
            where p.user_id = (select auth.uid()) and 'chat:' || p.chat_id::text = (select realtime.topic())
        )
    );
create policy "participants speak in their chats" on realtime.messages
    for insert to authenticated
    with check (
        exists (
            select from public.chat_participants p
            where p.user_id = (select auth.uid()) and 'chat:' || p.chat_id::text = (select realtime.topic())
        )
    );

-- These act as the caller, who may do no more than the policies let them.
create function public.send_message(chat_id uuid, content text) returns public.messages
    language sql volatile security invoker set search_path = ''
    as $$
        insert into public.messages (chat_id, sender_id, content)
        values ($1, (select auth.uid()), $2)
        returning *
    $$;
comment on function public.send_message(uuid, text) is 'Sends a message as the caller.';

create function public.edit_message(message_id uuid, content text) returns public.messages
    language sql volatile security invoker set search_path = ''
    as $$
        update public.messages m set content = $2, edited_at = now() where m.id = $1 returning *
    $$;
comment on function public.edit_message(uuid, text) is 'Edits a message of the caller.';

create function public.mark_chat_as_read(chat_id uuid) returns void
    language sql volatile security invoker set search_path = ''
    as $$
        update public.chat_participants p set last_read_at = now()
        where p.chat_id = $1 and p.user_id = (select auth.uid())
    $$;
comment on function public.mark_chat_as_read(uuid) is 'Notes that the caller has read a chat up to now.';

revoke all on function public.send_message(uuid, text), public.edit_message(uuid, text),
    public.mark_chat_as_read(uuid) from public;
grant execute on function public.send_message(uuid, text), public.edit_message(uuid, text),
    public.mark_chat_as_read(uuid) to authenticated;

grant usage on schema public to authenticated;
grant select on public.users, public.chats, public.chat_participants, public.messages to authenticated;
grant insert (chat_id, sender_id, content), update (content, edited_at) on public.messages to authenticated;
grant update (last_read_at) on public.chat_participants to authenticated;

-- All that realtime needs: the tables in the publication, and whole old rows, so that policies decide deletes, too.
alter table public.users replica identity full;
alter table public.chats replica identity full;
alter table public.chat_participants replica identity full;
alter table public.messages replica identity full;
alter publication supabase_realtime add table public.users, public.chats, public.chat_participants, public.messages;

-- Ann, a tutor, and bob, her student.
insert into public.users (id, full_name) values
    ('a0000000-0000-4000-8000-000000000001', 'Ann'),
    ('b0000000-0000-4000-8000-000000000001', 'Bob');
insert into public.chats (id, title) values ('c0000000-0000-4000-8000-000000000001', 'Matematikk');
insert into public.chat_participants (chat_id, user_id) values
    ('c0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
    ('c0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001');
