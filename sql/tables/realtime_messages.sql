-- realtime.messages: broadcasts written in SQL, a partition for each day, sent to subscribers once they are committed.
-- Re-runnable; leaves a table of that name alone.
--
-- Who may read a private channel is who may select here, and who may write to it is who may insert here; without
-- a policy nobody may. Partitions are made by rowcast.maintain_messages().

do $do$
begin
    if to_regclass('realtime.messages') is not null then
        return;
    end if;
    if to_regclass('realtime.schema_migrations') is not null then
        raise notice 'the schema realtime was made by another server and has no table messages: let that server''s latest version complete it; until then there are no private channels and no broadcasts from SQL';
        return;
    end if;
    create table realtime.messages (
        topic text not null,
        extension text not null,
        payload jsonb,
        event text,
        private boolean default false,
        updated_at timestamp not null default now(),
        inserted_at timestamp not null default now(),
        id uuid not null default gen_random_uuid(),
        binary_payload bytea,
        constraint messages_pkey primary key (id, inserted_at)
    ) partition by range (inserted_at);
    comment on table realtime.messages is 'Broadcasts written in SQL; its policies say who may use private channels. Made by Rowcast.';
    -- Not validated, as elsewhere; there are no rows it could be wrong about.
    alter table realtime.messages
        add constraint messages_payload_exclusive check (payload is null or binary_payload is null) not valid;
    -- For clients that ask for what they missed.
    create index messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
        where extension = 'broadcast' and private is true;
    alter table realtime.messages enable row level security;
end
$do$;
