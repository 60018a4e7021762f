-- why:   user SQL broadcasts by realtime.send(), send_binary() and broadcast_changes(), and its policies ask for
--        realtime.topic(). Where somebody has put a function of that name, such as Supabase, it stays.
-- locks: nothing that exists.
-- undo:  drop function realtime.topic(), realtime.send(jsonb, text, text, boolean),
--        realtime.send_binary(bytea, text, text, boolean),
--        realtime.broadcast_changes(text, text, text, text, text, record, record, text);
--        (only where their comment says "Made by Rowcast")
--
-- Policies call realtime.topic() on every row. A `set search_path` would forbid Postgres to inline it, so there is
-- none. The others have none because policies on realtime.messages run inside them, and the functions that those
-- call may count on the caller's.

do $do$
begin
    if obj_description(to_regprocedure('realtime.topic()'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.topic()') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.topic() returns text
        language sql
        stable
        security invoker
        as $fn$
            select nullif(current_setting('realtime.topic', true), '')
        $fn$;
        comment on function realtime.topic() is 'The topic that is being read or written, or null. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime.send(jsonb, text, text, boolean)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
        returns void
        language plpgsql
        volatile
        security invoker
        as $fn$
        declare
            message_id constant uuid := pg_catalog.gen_random_uuid();
            -- Days are UTC, whatever the session's time zone.
            sent_at constant timestamp := pg_catalog.timezone('utc', pg_catalog.now());
            broken text;
        begin
            for attempt in 1..2 loop
                begin
                    if attempt = 2 then
                        perform rowcast.repair_messages();
                    end if;
                    perform pg_catalog.set_config('realtime.topic', topic, true);
                    insert into realtime.messages (id, topic, extension, event, private, payload, updated_at, inserted_at)
                    values (
                        message_id, topic, 'broadcast', event, private,
                        case when payload ? 'id' then payload else pg_catalog.jsonb_set(payload, '{id}', pg_catalog.to_jsonb(message_id)) end,
                        sent_at, sent_at
                    );
                    return;
                exception
                    when check_violation then
                        get stacked diagnostics broken = constraint_name;
                        -- A row that no partition takes breaks a check without a name.
                        if attempt = 2 or broken <> '' then
                            raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
                            return;
                        end if;
                    when others then
                        raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
                        return;
                end;
            end loop;
        end
        $fn$;
        comment on function realtime.send(jsonb, text, text, boolean) is 'Broadcasts a JSON object to a topic once the transaction commits. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime.send_binary(bytea, text, text, boolean)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.send_binary(bytea, text, text, boolean)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.send_binary(payload bytea, event text, topic text, private boolean default true)
        returns void
        language plpgsql
        volatile
        security invoker
        as $fn$
        declare
            message_id constant uuid := pg_catalog.gen_random_uuid();
            -- Days are UTC, whatever the session's time zone.
            sent_at constant timestamp := pg_catalog.timezone('utc', pg_catalog.now());
            broken text;
        begin
            for attempt in 1..2 loop
                begin
                    if attempt = 2 then
                        perform rowcast.repair_messages();
                    end if;
                    perform pg_catalog.set_config('realtime.topic', topic, true);
                    insert into realtime.messages (id, topic, extension, event, private, binary_payload, updated_at, inserted_at)
                    values (
                        message_id, topic, 'broadcast', event, private,
                        payload,
                        sent_at, sent_at
                    );
                    return;
                exception
                    when check_violation then
                        get stacked diagnostics broken = constraint_name;
                        -- A row that no partition takes breaks a check without a name.
                        if attempt = 2 or broken <> '' then
                            raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
                            return;
                        end if;
                    when others then
                        raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
                        return;
                end;
            end loop;
        end
        $fn$;
        comment on function realtime.send_binary(bytea, text, text, boolean) is 'Broadcasts bytes to a topic once the transaction commits. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime.broadcast_changes(text, text, text, text, text, record, record, text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.broadcast_changes(text, text, text, text, text, record, record, text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.broadcast_changes(
            topic_name text,
            event_name text,
            operation text,
            table_name text,
            table_schema text,
            new record,
            old record,
            level text default 'ROW'
        ) returns void
        language plpgsql
        volatile
        security invoker
        as $fn$
        begin
            if level = 'STATEMENT' then
                raise exception 'function can only be triggered for each row, not for each statement';
            end if;
            if operation is null or operation not in ('INSERT', 'UPDATE', 'DELETE') then
                raise exception 'Unexpected operation type: %', operation;
            end if;
            perform realtime.send(
                pg_catalog.jsonb_build_object(
                    'schema', table_schema,
                    'table', table_name,
                    'operation', operation,
                    'record', new,
                    'old_record', old
                ),
                event_name,
                topic_name
            );
        exception
            when others then
                raise exception 'Failed to process the row: %', sqlerrm;
        end
        $fn$;
        comment on function realtime.broadcast_changes(text, text, text, text, text, record, record, text) is 'Broadcasts a row''s change to a topic, for triggers. Made by Rowcast.';
    end if;
end
$do$;
