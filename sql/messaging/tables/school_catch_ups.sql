-- rowcast.catch_ups: what each device of the school app has been given, by the time that names it. Re-runnable.
--
-- A record is a snapshot: whatever it sees has been given, but for what is owed, and whatever it does not see has not,
-- but for what a socket has sent since. Nobody reads or writes it but by the functions below it, each for the caller's
-- own records alone. The token is here as its SHA-256 only.

create table if not exists rowcast.catch_ups (
    id bigint generated always as identity constraint catch_ups_pkey primary key,
    user_id uuid,
    customer_id uuid,
    token_hash bytea not null,
    last_check_time timestamptz not null,
    cluster bigint not null,
    seen pg_snapshot not null,
    owed uuid[] not null default '{}',
    sent uuid[] not null default '{}',
    follows bigint,
    created_at timestamptz not null default now(),
    constraint catch_ups_person_check check (num_nonnulls(user_id, customer_id) = 1),
    constraint catch_ups_token_hash_check check (octet_length(token_hash) = 32),
    constraint catch_ups_owed_check check (cardinality(owed) <= 100000),
    constraint catch_ups_sent_check check (cardinality(sent) <= 10000),
    constraint catch_ups_user_time_key unique (user_id, last_check_time),
    constraint catch_ups_customer_time_key unique (customer_id, last_check_time)
);
comment on table rowcast.catch_ups is 'What each device of the school app has been given. Made by Rowcast.';
comment on column rowcast.catch_ups.last_check_time is 'The name that the client knows it by, in whole milliseconds.';
comment on column rowcast.catch_ups.cluster is 'The cluster whose transactions the snapshot speaks of.';
comment on column rowcast.catch_ups.seen is 'Messages that this sees have been given.';
comment on column rowcast.catch_ups.owed is 'Messages that it sees and that have not been given yet.';
comment on column rowcast.catch_ups.sent is 'Messages that it does not see, or that are owed, and that a socket has brought.';
comment on column rowcast.catch_ups.follows is 'The record that it continues.';
create index if not exists catch_ups_created_at_idx on rowcast.catch_ups (created_at);
create index if not exists messages_inserted_in_idx on public.messages (inserted_in);
create index if not exists messages_conversation_id_inserted_in_idx on public.messages (conversation_id, inserted_in);
alter table rowcast.catch_ups enable row level security;
revoke all on table rowcast.catch_ups from public;
