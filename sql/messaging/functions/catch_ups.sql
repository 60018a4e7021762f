-- What people have missed since a check, and what they are given then.
-- Re-runnable.
--
-- Messages are read as the caller, under row level security. What is kept is kept as the owner, since nobody else has a
-- right to rowcast.catch_ups, and for the caller alone: whose records they are is what the claims say.

-- The messages that a record does not have, oldest first: their ids.
-- Whatever a snapshot does not see was in progress or had not begun, and so has a transaction no older than the
-- snapshot's oldest. A message is not looked at beyond the end of the snapshot of this query, nor if it is more than a
-- day older than the check: one that came with a dump has a transaction of another cluster, which says nothing here.
-- Without a snapshot the time of the message counts. Of more than 100,000 these are the newest.
-- Security definer, for the conversations of the caller alone: policies would be asked once for each message, and there
-- may be many. They are asked of those that are given, by rowcast.message_page().
create or replace function rowcast.missed_since(
    since timestamptz, seen pg_snapshot, owed uuid[], sent uuid[]
) returns uuid[]
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    oldest constant xid8 := pg_catalog.pg_snapshot_xmin(seen);
    ending constant xid8 := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot());
    everything constant boolean := coalesce(rowcast.caller_is_staff(), false);
    caller_user constant uuid := rowcast.caller_user_id();
    caller_customer constant uuid := rowcast.caller_customer_id();
    mine uuid[];
    missed uuid[];
begin
    if not everything then
        mine := array(
            select part.conversation_id from public.conversation_participants as part
            where part.user_id = caller_user and part.left_at is null
            union all
            select part.conversation_id from public.conversation_participants as part
            where part.customer_id = caller_customer and part.left_at is null
        );
    end if;
    if seen is null then
        select pg_catalog.array_agg(found.id order by found.created_at, found.id) into missed
        from (
            select message.id, message.created_at
            from public.messages as message
            where message.created_at > since and message.deleted_at is null
                and (everything or message.conversation_id = any (mine))
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            union all
            select message.id, message.created_at
            from unnest(owed) as due (id)
            join public.messages as message on message.id = due.id
            where message.created_at <= since and message.deleted_at is null
                and (everything or message.conversation_id = any (mine))
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            order by 2 desc, 1 desc
            limit 100000
        ) as found;
    elsif everything then
        select pg_catalog.array_agg(found.id order by found.created_at, found.id) into missed
        from (
            select message.id, message.created_at
            from public.messages as message
            where message.inserted_in >= oldest and message.inserted_in < ending
                and not pg_catalog.pg_visible_in_snapshot(message.inserted_in, seen)
                and message.created_at > since - interval '1 day'
                and message.deleted_at is null
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            union all
            select message.id, message.created_at
            from unnest(owed) as due (id)
            join public.messages as message on message.id = due.id
            where message.deleted_at is null
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            order by 2 desc, 1 desc
            limit 100000
        ) as found;
    else
        select pg_catalog.array_agg(found.id order by found.created_at, found.id) into missed
        from (
            select message.id, message.created_at
            from public.messages as message
            where message.conversation_id = any (mine)
                and message.inserted_in >= oldest and message.inserted_in < ending
                and not pg_catalog.pg_visible_in_snapshot(message.inserted_in, seen)
                and message.created_at > since - interval '1 day'
                and message.deleted_at is null
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            union all
            select message.id, message.created_at
            from unnest(owed) as due (id)
            join public.messages as message on message.id = due.id
            where message.conversation_id = any (mine) and message.deleted_at is null
                and not exists (select from unnest(sent) as had (id) where had.id = message.id)
            order by 2 desc, 1 desc
            limit 100000
        ) as found;
    end if;
    return coalesce(missed, '{}');
end
$fn$;
comment on function rowcast.missed_since(timestamptz, pg_snapshot, uuid[], uuid[]) is 'The messages of the caller''s conversations that a record does not have, oldest first. Made by Rowcast.';
revoke all on function rowcast.missed_since(timestamptz, pg_snapshot, uuid[], uuid[]) from public;
grant execute on function rowcast.missed_since(timestamptz, pg_snapshot, uuid[], uuid[]) to authenticated, service_role;

-- The first of these messages, in this order, as many as make a page.
-- A page has some 4 MB of contents at most, and one message at least. What the caller may not see, what is deleted and
-- what is gone is passed over; `taken` says how many ids the page stands for.
create or replace function rowcast.message_page(message_ids uuid[], page_limit integer default 500) returns jsonb
language sql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
    with listed as (
        select pg_catalog.to_jsonb(message) - 'inserted_in' as body, due.place,
            pg_catalog.sum(pg_catalog.octet_length(message.content) + pg_catalog.octet_length(message.attachments::text))
                over (order by due.place) as bytes,
            pg_catalog.row_number() over (order by due.place) as number
        from unnest(message_ids[1:page_limit]) with ordinality as due (id, place)
        join public.messages as message on message.id = due.id
        where message.deleted_at is null
    ), page as (
        select listed.body, listed.place from listed where listed.bytes <= 4000000 or listed.number = 1
    )
    select pg_catalog.jsonb_build_object(
        'messages', coalesce((select pg_catalog.jsonb_agg(page.body order by page.place) from page), '[]'),
        'taken', case
            when (select pg_catalog.count(*) from page) < (select pg_catalog.count(*) from listed)
                then (select pg_catalog.max(page.place) from page)
            else least(page_limit, pg_catalog.cardinality(message_ids))
        end
    )
$fn$;
comment on function rowcast.message_page(uuid[], integer) is 'The first of these messages, as many as make a page. Made by Rowcast.';
revoke all on function rowcast.message_page(uuid[], integer) from public;
grant execute on function rowcast.message_page(uuid[], integer) to authenticated, service_role;

-- Those of these messages that a query of now does not see: a socket can be told of a commit before others see it.
-- Security definer, as policies have nothing to do with it, and there may be many.
create or replace function rowcast.not_yet_seen(message_ids uuid[]) returns uuid[]
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select array(
        select given.id
        from unnest(message_ids) as given (id)
        where not exists (
            select from public.messages as message
            where message.id = given.id
                and (
                    rowcast.caller_is_staff()
                    or message.conversation_id in (select rowcast.own_conversation_ids())
                )
                and pg_catalog.pg_visible_in_snapshot(message.inserted_in, pg_catalog.pg_current_snapshot())
        )
        limit 10000
    )
$fn$;
comment on function rowcast.not_yet_seen(uuid[]) is 'Those of these messages that are not to be seen now. Made by Rowcast.';
revoke all on function rowcast.not_yet_seen(uuid[]) from public;
grant execute on function rowcast.not_yet_seen(uuid[]) to authenticated, service_role;

-- The cluster that this database is in.
-- A dump that is restored elsewhere brings records whose snapshots speak of transactions that this cluster will count
-- anew.
create or replace function rowcast.this_cluster() returns bigint
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    return (select control.system_identifier from pg_catalog.pg_control_system() as control);
exception
    when insufficient_privilege then
        return 0;
end
$fn$;
comment on function rowcast.this_cluster() is 'The cluster that this database is in; 0 where nobody may ask. Made by Rowcast.';
revoke all on function rowcast.this_cluster() from public;

-- The caller's own record of this time, or the last one of this token.
-- As its owner, since nobody else reads the table; it is the claims that say whose records these are. The snapshot of
-- another cluster is left out, so that its time counts.
create or replace function rowcast.find_catch_up(at timestamptz, token bytea) returns setof rowcast.catch_ups
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $fn$
    select record.id, record.user_id, record.customer_id, record.token_hash, record.last_check_time, record.cluster,
        case when record.cluster = rowcast.this_cluster() then record.seen end,
        record.owed, record.sent, record.follows, record.created_at
    from rowcast.catch_ups as record
    where (record.user_id = rowcast.caller_user_id() or record.customer_id = rowcast.caller_customer_id())
        and (record.last_check_time = at or (at is null and record.token_hash = token))
    order by record.last_check_time desc
    limit 1
$fn$;
comment on function rowcast.find_catch_up(timestamptz, bytea) is 'The caller''s record of this time, else the last one of this token. Made by Rowcast.';
revoke all on function rowcast.find_catch_up(timestamptz, bytea) from public;
grant execute on function rowcast.find_catch_up(timestamptz, bytea) to authenticated, service_role;

-- A new record of the caller's, and the time that names it.
-- Whole milliseconds, because a client that reads and prints a time keeps no more; later than any other of the person,
-- so that the last one of a token is the last one made. As its owner, for the caller alone. What is 30 days old goes,
-- so does all but the newest 200 of a person, or fewer if they hold more than 400,000 ids, and so does the record two before the one that this continues: who asks
-- by a time has had its answer, and needs none from before.
create or replace function rowcast.store_catch_up(
    token bytea, seen pg_snapshot, owed uuid[], sent uuid[], follows bigint
) returns timestamptz
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
#variable_conflict use_variable
declare
    caller_user constant uuid := rowcast.caller_user_id();
    caller_customer constant uuid := case when rowcast.caller_user_id() is null then rowcast.caller_customer_id() end;
    issued timestamptz;
begin
    if caller_user is null and caller_customer is null then
        raise insufficient_privilege using message = 'the token names nobody';
    end if;
    loop
        select greatest(
            pg_catalog.date_trunc('milliseconds', pg_catalog.clock_timestamp()),
            pg_catalog.max(record.last_check_time) + interval '1 millisecond'
        ) into issued
        from rowcast.catch_ups as record
        where record.user_id = caller_user or record.customer_id = caller_customer;
        insert into rowcast.catch_ups (
            user_id, customer_id, token_hash, last_check_time, cluster, seen, owed, sent, follows
        )
        values (caller_user, caller_customer, token, issued, rowcast.this_cluster(), seen, owed, sent, follows)
        on conflict do nothing;
        exit when found;
    end loop;
    delete from rowcast.catch_ups as record
    where (record.user_id = caller_user or record.customer_id = caller_customer)
        and (
            record.created_at < pg_catalog.now() - interval '30 days'
            or record.id = (
                select parent.follows from rowcast.catch_ups as own
                join rowcast.catch_ups as parent on parent.id = own.follows
                where own.id = follows
            )
            or record.id <= (
                select kept.id
                from (
                    select
                        other.id,
                        pg_catalog.row_number() over newest as place,
                        pg_catalog.sum(pg_catalog.cardinality(other.owed) + pg_catalog.cardinality(other.sent))
                            over newest as ids
                    from rowcast.catch_ups as other
                    where other.user_id = caller_user or other.customer_id = caller_customer
                    window newest as (order by other.id desc)
                ) as kept
                where kept.place > 200 or kept.ids > 400000
                order by kept.id desc
                limit 1
            )
        );
    -- Those of people who never come back.
    delete from rowcast.catch_ups as record
    where record.id = any (array(
        select old.id from rowcast.catch_ups as old
        where old.created_at < pg_catalog.now() - interval '30 days'
        order by old.created_at
        limit 20
        for update skip locked
    ));
    return issued;
end
$fn$;
comment on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], uuid[], bigint) is 'Keeps what the caller has been given, and answers the time that names it. Made by Rowcast.';
revoke all on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], uuid[], bigint) from public;
grant execute on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], uuid[], bigint) to authenticated, service_role;

-- What a record of the caller's holds from now on.
-- Without a snapshot these messages have been sent, too; `false` if there is no such record, or no room in it. With one
-- it stands for the record from now on, and so do `owed` and `messages`. As its owner, for the caller alone.
create or replace function rowcast.update_catch_up(record_id bigint, messages uuid[], new_seen pg_snapshot, new_owed uuid[])
returns boolean
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
begin
    if new_seen is not null then
        update rowcast.catch_ups as record
        set cluster = rowcast.this_cluster(), seen = new_seen, owed = new_owed, sent = messages
        where record.id = record_id
            and (record.user_id = rowcast.caller_user_id() or record.customer_id = rowcast.caller_customer_id());
        return found;
    end if;
    update rowcast.catch_ups as record
    set sent = array(select unnest(record.sent) union select unnest(messages))
    where record.id = record_id
        and (record.user_id = rowcast.caller_user_id() or record.customer_id = rowcast.caller_customer_id())
        and pg_catalog.cardinality(record.sent) + pg_catalog.cardinality(messages) <= 10000;
    return found;
end
$fn$;
comment on function rowcast.update_catch_up(bigint, uuid[], pg_snapshot, uuid[]) is 'Changes what a record of the caller''s holds. Made by Rowcast.';
revoke all on function rowcast.update_catch_up(bigint, uuid[], pg_snapshot, uuid[]) from public;
grant execute on function rowcast.update_catch_up(bigint, uuid[], pg_snapshot, uuid[]) to authenticated, service_role;

-- The messages since a check, and the time that names this one.
-- A time that an earlier answer has given names a record, and the messages are exactly those that the record does not
-- have; any other time is compared with theirs. What is found and the snapshot that is kept come of one query: whatever
-- commits after it is for the next call or for a socket, and nothing lies between. The record that was asked by stays
-- as it is, so that the same call again answers the same and what has come since.
create or replace function rowcast.catch_up(token_hash text, since timestamptz, page_limit integer default 500)
returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
#variable_conflict use_variable
declare
    token constant bytea := pg_catalog.decode(token_hash, 'hex');
    record rowcast.catch_ups;
    seen pg_snapshot;
    missed uuid[];
    unseen uuid[];
    page jsonb;
    taken integer;
    issued timestamptz;
begin
    if since is null or page_limit is null or page_limit not between 1 and 1000
        or pg_catalog.octet_length(token) is distinct from 32 then
        raise invalid_parameter_value using message = 'since, token_hash or page_limit is out of range';
    end if;
    select * into record from rowcast.find_catch_up(since, null);
    select pg_catalog.pg_current_snapshot(), found.ids, rowcast.message_page(found.ids, page_limit),
        rowcast.not_yet_seen(record.sent)
    into seen, missed, page, unseen
    from (
        select rowcast.missed_since(since, record.seen, record.owed, record.sent) as ids offset 0
    ) as found;
    taken := page ->> 'taken';
    issued := rowcast.store_catch_up(token, seen, missed[taken + 1:], unseen, record.id);
    return pg_catalog.jsonb_build_object(
        'messages', page -> 'messages',
        'last_check_time', pg_catalog.to_char(issued at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'remaining', pg_catalog.cardinality(missed) - taken,
        'seen', seen::text
    );
end
$fn$;
comment on function rowcast.catch_up(text, timestamptz, integer) is 'The messages that the caller has missed since a check, and the time that names this check. Made by Rowcast.';
revoke all on function rowcast.catch_up(text, timestamptz, integer) from public;
grant execute on function rowcast.catch_up(text, timestamptz, integer) to authenticated, service_role;

-- What a socket has to bring first.
-- It continues the caller's last check with its token, or the one that `since` names. Its caller has made sure that
-- commits reach it from now on, and so has every message twice that was committed in between; the ids are there to
-- tell them by. It may be told of older commits, too, which the check has seen or another socket has brought: `seen` and
-- `sent` tell those. Null without such a check.
create or replace function rowcast.resume_catch_up(
    token_hash text, since timestamptz default null, page_limit integer default 500
) returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
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
        select rowcast.missed_since(record.last_check_time, record.seen, record.owed, record.sent) as ids offset 0
    ) as found;
    taken := page ->> 'taken';
    return pg_catalog.jsonb_build_object(
        'messages', page -> 'messages',
        'remaining', pg_catalog.to_jsonb(missed[taken + 1:]),
        'seen', coalesce(record.seen, '1:1:')::text,
        'sent', pg_catalog.to_jsonb(record.sent),
        'last_check_time', pg_catalog.to_char(record.last_check_time at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    );
end
$fn$;
comment on function rowcast.resume_catch_up(text, timestamptz, integer) is 'The messages that a socket has to bring before those that come. Made by Rowcast.';
revoke all on function rowcast.resume_catch_up(text, timestamptz, integer) from public;
grant execute on function rowcast.resume_catch_up(text, timestamptz, integer) to authenticated, service_role;

-- What a socket has brought since a check.
-- Once a record has 10,000 such messages it is made anew: by the snapshot of now, with what is missing as owed. What
-- was sent and is not seen yet, as it may be while a standby is waited for, stays listed as sent.
create or replace function rowcast.note_catch_up(since timestamptz, message_ids uuid[]) returns boolean
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
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
    select pg_catalog.pg_current_snapshot(), rowcast.missed_since(since, record.seen, record.owed, had),
        rowcast.not_yet_seen(had)
    into now_seen, missed, had;
    return rowcast.update_catch_up(record.id, had, now_seen, missed);
end
$fn$;
comment on function rowcast.note_catch_up(timestamptz, uuid[]) is 'Notes what a socket has brought since a check. Made by Rowcast.';
revoke all on function rowcast.note_catch_up(timestamptz, uuid[]) from public;
grant execute on function rowcast.note_catch_up(timestamptz, uuid[]) to authenticated, service_role;
