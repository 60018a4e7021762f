-- rowcast.catch_up(): the messages since a check, and the time that names this one. Re-runnable.
--
-- A time that an earlier answer has given names a record, and the messages are exactly those that the record does not
-- have; any other time is compared with theirs. What is found and the snapshot that is kept come of one query: whatever
-- commits after it is for the next call or for a socket, and nothing lies between. The record that was asked by stays
-- as it is, so that the same call again answers the same and what has come since.

create or replace function rowcast.catch_up(token_hash text, since timestamptz, page_limit integer default 500)
returns jsonb
language plpgsql
volatile
security invoker
set search_path = ''
as $fn$
#variable_conflict use_variable
declare
    token constant bytea := pg_catalog.decode(token_hash, 'hex');
    record rowcast.catch_ups;
    seen pg_snapshot;
    missed uuid[];
    page jsonb;
    taken integer;
    issued timestamptz;
begin
    if since is null or page_limit is null or page_limit not between 1 and 1000
        or pg_catalog.octet_length(token) is distinct from 32 then
        raise invalid_parameter_value using message = 'since, token_hash or page_limit is out of range';
    end if;
    select * into record from rowcast.find_catch_up(since, null);
    select pg_catalog.pg_current_snapshot(), found.ids, rowcast.message_page(found.ids, page_limit)
    into seen, missed, page
    from (
        select rowcast.missed_messages(since, record.seen, record.owed, record.sent) as ids offset 0
    ) as found;
    taken := page ->> 'taken';
    issued := rowcast.store_catch_up(token, seen, missed[taken + 1:], record.id);
    return pg_catalog.jsonb_build_object(
        'messages', page -> 'messages',
        'last_check_time', pg_catalog.to_char(issued at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'remaining', pg_catalog.cardinality(missed) - taken
    );
end
$fn$;
comment on function rowcast.catch_up(text, timestamptz, integer) is 'The messages that the caller has missed since a check, and the time that names this check. Made by Rowcast.';
revoke all on function rowcast.catch_up(text, timestamptz, integer) from public;
grant execute on function rowcast.catch_up(text, timestamptz, integer) to authenticated, service_role;
