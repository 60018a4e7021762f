-- rowcast.missed_messages(): the messages that a record does not have, oldest first. Re-runnable.
--
-- The caller's row level security decides, so this runs as the caller; the conversations of the caller only make it
-- quick. Whatever a snapshot does not see was in progress or had not begun, and so has a transaction no older than the
-- snapshot's oldest. A message is not looked at beyond the end of the snapshot of this query: one that came with a
-- dump has a transaction of another cluster, which says nothing here. Without a snapshot the time of the message
-- counts. Of more than 100,000 these are the newest.

create or replace function rowcast.missed_messages(
    since timestamptz, seen pg_snapshot, owed uuid[], sent uuid[]
) returns uuid[]
language plpgsql
stable
security invoker
set search_path = ''
as $fn$
declare
    oldest constant xid8 := pg_catalog.pg_snapshot_xmin(seen);
    ending constant xid8 := pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot());
    everything constant boolean := coalesce(rowcast.caller_is_staff(), false);
    mine uuid[];
    missed uuid[];
begin
    if not everything then
        select pg_catalog.array_agg(part.conversation_id) into mine
        from public.conversation_participants as part
        where (part.user_id = rowcast.caller_user_id() or part.customer_id = rowcast.caller_customer_id())
            and part.left_at is null;
    end if;
    if seen is null then
        select pg_catalog.array_agg(found.id order by found.created_at, found.id) into missed
        from (
            select message.id, message.created_at
            from public.messages as message
            where message.created_at > since and message.deleted_at is null
                and (everything or message.conversation_id = any (mine))
            order by message.created_at desc, message.id desc
            limit 100000
        ) as found;
    elsif everything then
        select pg_catalog.array_agg(found.id order by found.created_at, found.id) into missed
        from (
            select message.id, message.created_at
            from public.messages as message
            where message.inserted_in >= oldest and message.inserted_in < ending
                and not pg_catalog.pg_visible_in_snapshot(message.inserted_in, seen)
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
    end if;
    return coalesce(missed, '{}');
end
$fn$;
comment on function rowcast.missed_messages(timestamptz, pg_snapshot, uuid[], uuid[]) is 'The messages that the caller may see and has not been given, oldest first. Made by Rowcast.';
revoke all on function rowcast.missed_messages(timestamptz, pg_snapshot, uuid[], uuid[]) from public;
grant execute on function rowcast.missed_messages(timestamptz, pg_snapshot, uuid[], uuid[]) to authenticated, service_role;
