-- rowcast.note_catch_up(): what a socket has brought since a check. Re-runnable.
--
-- Once a record has 10,000 such messages it is made anew: by the snapshot of now, with what is missing as owed. What
-- was sent and is not seen yet, as it may be while a standby is waited for, stays listed as sent.

create or replace function rowcast.note_catch_up(since timestamptz, message_ids uuid[]) returns boolean
language plpgsql
volatile
security invoker
set search_path = ''
as $fn$
declare
    record rowcast.catch_ups;
    had uuid[];
    now_seen pg_snapshot;
    missed uuid[];
begin
    if since is null or message_ids is null or pg_catalog.cardinality(message_ids) > 10000 then
        raise invalid_parameter_value using message = 'since or message_ids is out of range';
    end if;
    select * into record from rowcast.find_catch_up(since, null);
    if record.id is null then
        return false;
    end if;
    if rowcast.update_catch_up(record.id, message_ids, null, null) then
        return true;
    end if;
    had := record.sent || message_ids;
    select pg_catalog.pg_current_snapshot(), rowcast.missed_messages(since, record.seen, record.owed, had),
        array(
            select given.id from unnest(had) as given (id)
            where not exists (
                select from public.messages as message
                where message.id = given.id
                    and pg_catalog.pg_visible_in_snapshot(message.inserted_in, pg_catalog.pg_current_snapshot())
            )
            limit 10000
        )
    into now_seen, missed, had;
    return rowcast.update_catch_up(record.id, had, now_seen, missed);
end
$fn$;
comment on function rowcast.note_catch_up(timestamptz, uuid[]) is 'Notes what a socket has brought since a check. Made by Rowcast.';
revoke all on function rowcast.note_catch_up(timestamptz, uuid[]) from public;
grant execute on function rowcast.note_catch_up(timestamptz, uuid[]) to authenticated, service_role;
