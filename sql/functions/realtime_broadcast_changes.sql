-- realtime.broadcast_changes(): broadcasts a row's change to a topic, called in a trigger for each row.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- A wrong call raises, since it is a mistake in the trigger; what goes wrong in sending is a warning, see realtime.send().
--
-- There is no `set search_path`, for the reason that realtime.send() gives.

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
