-- realtime.send(): broadcasts to a topic once the transaction commits.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Whoever calls this needs the right to insert into realtime.messages, by grant and by policy. Whatever goes wrong is a
-- warning: what the transaction is about must not fail because nobody could be told of it.
--
-- There is no `set search_path`: policies on realtime.messages run inside, and the functions they call may count on the
-- caller's. All names here are qualified, and operators are looked up in the path of the one whose rights they run with.
--
-- A payload that has no id gets the message's.

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
