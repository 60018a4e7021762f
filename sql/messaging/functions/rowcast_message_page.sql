-- rowcast.message_page(): the first of these messages, in this order, as many as make a page. Re-runnable.
--
-- A page has some 4 MB of contents at most, and one message at least. What the caller may not see, what is deleted and
-- what is gone is passed over; `taken` says how many ids the page stands for.

create or replace function rowcast.message_page(message_ids uuid[], page_limit integer default 500) returns jsonb
language sql
stable
security invoker
set search_path = ''
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
