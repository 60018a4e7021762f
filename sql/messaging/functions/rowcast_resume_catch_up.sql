-- rowcast.resume_catch_up(): what a socket has to bring first. Re-runnable.
--
-- It continues the caller's last check with its token, or the one that `since` names. Its caller has made sure that
-- commits reach it from now on, and so has every message twice that was committed in between; the ids are there to
-- tell them by. Null without such a check.

create or replace function rowcast.resume_catch_up(
    token_hash text, since timestamptz default null, page_limit integer default 500
) returns jsonb
language plpgsql
volatile
security invoker
set search_path = ''
as $fn$
declare
    record rowcast.catch_ups;
    missed uuid[];
    page jsonb;
    taken integer;
begin
    select * into record from rowcast.find_catch_up(since, pg_catalog.decode(token_hash, 'hex'));
    if record.id is null then
        return null;
    end if;
    select found.ids, rowcast.message_page(found.ids, page_limit) into missed, page
    from (
        select rowcast.missed_messages(record.last_check_time, record.seen, record.owed, record.sent) as ids offset 0
    ) as found;
    taken := page ->> 'taken';
    return pg_catalog.jsonb_build_object(
        'messages', page -> 'messages',
        'remaining', pg_catalog.to_jsonb(missed[taken + 1:]),
        'last_check_time', pg_catalog.to_char(record.last_check_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    );
end
$fn$;
comment on function rowcast.resume_catch_up(text, timestamptz, integer) is 'The messages that a socket has to bring before those that come. Made by Rowcast.';
revoke all on function rowcast.resume_catch_up(text, timestamptz, integer) from public;
grant execute on function rowcast.resume_catch_up(text, timestamptz, integer) to authenticated, service_role;
