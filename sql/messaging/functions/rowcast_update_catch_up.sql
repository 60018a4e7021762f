-- rowcast.update_catch_up(): what a record of the caller's holds from now on. Re-runnable.
--
-- Without a snapshot these messages have been sent, too; `false` if there is no such record, or no room in it. With one
-- it stands for the record from now on, and so do `owed` and `messages`. As its owner, for the caller alone.

create or replace function rowcast.update_catch_up(record_id bigint, messages uuid[], new_seen pg_snapshot, new_owed uuid[])
returns boolean
language plpgsql
volatile
security definer
set search_path = ''
as $fn$
begin
    if new_seen is not null then
        update rowcast.catch_ups as record
        set seen = new_seen, owed = new_owed, sent = messages
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
