-- The demo that `rowcast dev` starts with: conversations, who takes part in them, and their messages.
-- Re-runnable: what stands is left as it is.
--
-- The policies have the shape we recommend: one per table, command and role; `(select auth.uid())`, which Postgres
-- evaluates once a statement and not once a row; and an index that begins with every column they test.

do $demo$
begin
    if to_regclass('public.conversations') is not null then
        return;
    end if;

    create table public.conversations (
        id uuid not null default gen_random_uuid() constraint conversations_pkey primary key,
        title text not null
    );
    comment on table public.conversations is 'Demo: what people talk about.';
    alter table public.conversations enable row level security;

    create table public.participants (
        conversation_id uuid not null
            constraint participants_conversation_id_fkey references public.conversations (id) on delete cascade,
        user_id uuid not null,
        constraint participants_pkey primary key (user_id, conversation_id)
    );
    comment on table public.participants is 'Demo: who takes part in which conversation.';
    create index participants_conversation_id_idx on public.participants (conversation_id);
    alter table public.participants enable row level security;

    create table public.messages (
        id bigint generated always as identity constraint messages_pkey primary key,
        conversation_id uuid not null
            constraint messages_conversation_id_fkey references public.conversations (id) on delete cascade,
        sender_id uuid not null,
        body text not null constraint messages_body_length check (length(body) between 1 and 4000),
        created_at timestamptz not null default now()
    );
    comment on table public.messages is 'Demo: what was said.';
    create index messages_conversation_id_idx on public.messages (conversation_id, id);
    -- With the whole old row in the WAL, policies decide deletes, too, and not only inserts and updates.
    alter table public.messages replica identity full;
    alter table public.messages enable row level security;

    create policy "participants see their own participation" on public.participants
        for select to authenticated
        using (user_id = (select auth.uid()));

    create policy "participants see their conversations" on public.conversations
        for select to authenticated
        using (
            exists (
                select from public.participants p
                where p.conversation_id = conversations.id and p.user_id = (select auth.uid())
            )
        );

    create policy "participants read messages" on public.messages
        for select to authenticated
        using (
            exists (
                select from public.participants p
                where p.conversation_id = messages.conversation_id and p.user_id = (select auth.uid())
            )
        );

    create policy "participants write messages of their own" on public.messages
        for insert to authenticated
        with check (
            sender_id = (select auth.uid())
            and exists (
                select from public.participants p
                where p.conversation_id = messages.conversation_id and p.user_id = (select auth.uid())
            )
        );

    create policy "senders delete their messages" on public.messages
        for delete to authenticated
        using (sender_id = (select auth.uid()));

    grant usage on schema public to anon, authenticated, service_role;
    grant select on public.conversations, public.participants, public.messages to anon, authenticated;
    grant insert, delete on public.messages to authenticated;
    grant all on public.conversations, public.participants, public.messages to service_role;

    alter publication supabase_realtime add table public.conversations, public.participants, public.messages;

    insert into public.conversations (id, title) values
        ('c0000000-0000-4000-8000-000000000001', 'Ann''s notes'),
        ('c0000000-0000-4000-8000-000000000002', 'Bob''s notes'),
        ('c0000000-0000-4000-8000-000000000003', 'Ann and Bob');
    insert into public.participants (conversation_id, user_id) values
        ('c0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
        ('c0000000-0000-4000-8000-000000000002', 'b0000000-0000-4000-8000-000000000001'),
        ('c0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000001'),
        ('c0000000-0000-4000-8000-000000000003', 'b0000000-0000-4000-8000-000000000001');
end
$demo$;
