-- why:   clients of the school app ask what they have missed since a check, then open a socket. These keep what each
--        check has given, so that nothing is lost or given twice in between. sql/messaging says why each is as it is.
-- locks: public.messages against writers while its two indexes are made.
-- undo:  drop function rowcast.note_catch_up(timestamptz, uuid[]), rowcast.resume_catch_up(text, timestamptz, integer),
--        rowcast.catch_up(text, timestamptz, integer), rowcast.update_catch_up(bigint, uuid[], pg_snapshot, uuid[]),
--        rowcast.store_catch_up(bytea, pg_snapshot, uuid[], uuid[], bigint), rowcast.find_catch_up(timestamptz, bytea),
--        rowcast.this_cluster(), rowcast.not_yet_seen(uuid[]), rowcast.message_page(uuid[], integer),
--        rowcast.missed_since(timestamptz, pg_snapshot, uuid[], uuid[]);
--        drop index public.messages_conversation_id_inserted_in_idx, public.messages_inserted_in_idx;
--        drop table rowcast.catch_ups;

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
