-- rowcast.store_catch_up(): a new record of the caller's, and the time that names it. Re-runnable.
--
-- Whole milliseconds, because a client that reads and prints a time keeps no more; later than any other of the person,
-- so that the last one of a token is the last one made. As its owner, for the caller alone. What is 30 days old goes,
-- so does all but the newest 200 of a person, and so does the record two before the one that this continues: who asks
-- by a time has had its answer, and needs none from before.

create or replace function rowcast.store_catch_up(token bytea, seen pg_snapshot, owed uuid[], follows bigint)
returns timestamptz
language plpgsql
volatile
security definer
set search_path = ''
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
        insert into rowcast.catch_ups (user_id, customer_id, token_hash, last_check_time, seen, owed, follows)
        values (caller_user, caller_customer, token, issued, seen, owed, follows)
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
                select other.id from rowcast.catch_ups as other
                where other.user_id = caller_user or other.customer_id = caller_customer
                order by other.id desc offset 200 limit 1
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
comment on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], bigint) is 'Keeps what the caller has been given, and answers the time that names it. Made by Rowcast.';
revoke all on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], bigint) from public;
grant execute on function rowcast.store_catch_up(bytea, pg_snapshot, uuid[], bigint) to authenticated, service_role;
