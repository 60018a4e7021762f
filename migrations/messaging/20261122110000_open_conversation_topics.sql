-- why:   apps are told who types now, and which private channels of conversations they may join.
-- locks: realtime.messages, exclusively, for a moment.
-- undo:  drop policy "those who take part listen, and staff" on realtime.messages; drop policy "those who take part
--        speak, and staff" on realtime.messages; drop function rowcast.may_use_topic(text),
--        rowcast.may_hear_topic(text), public.list_typing_indicators(uuid);

create or replace function public.list_typing_indicators(conversation_id uuid)
returns setof public.message_typing_indicators
language sql
stable
security invoker
begin atomic
    select t.*
    from public.message_typing_indicators t
    where t.conversation_id = list_typing_indicators.conversation_id and t.is_typing and t.expires_at > now()
    order by t.started_at, t.id;
end;
comment on function public.list_typing_indicators(uuid) is 'Who is typing in a conversation, those first who began first. Made by Rowcast.';

create or replace function rowcast.may_use_topic(topic text) returns boolean
language sql
stable
security definer
begin atomic
    select split_part(may_use_topic.topic, ':', 1) in ('chat', 'conversation', 'presence')
        and (
            (select rowcast.caller_is_staff())
            or exists (
                select
                from public.conversation_participants p
                where p.left_at is null
                    and (
                        p.user_id = (select rowcast.caller_user_id())
                        or p.customer_id = (select rowcast.caller_customer_id())
                    )
                    and p.conversation_id::text = split_part(may_use_topic.topic, ':', 2)
            )
        );
end;
comment on function rowcast.may_use_topic(text) is 'Whether a private channel is that of a conversation which the caller takes part in, or sees as staff. Made by Rowcast.';

-- customer:<id>:messages is what a customer is told, staff:<id>:messages what one of the staff is.
create or replace function rowcast.may_hear_topic(topic text) returns boolean
language sql
stable
security invoker
begin atomic
    select coalesce(
        case split_part(may_hear_topic.topic, ':', 1)
            when 'customer' then
                split_part(may_hear_topic.topic, ':', 2) = (select rowcast.caller_customer_id())::text
                or (select rowcast.caller_is_staff())
            when 'staff' then
                split_part(may_hear_topic.topic, ':', 2) = (select rowcast.caller_user_id())::text
                and (select rowcast.caller_is_staff())
        end,
        false
    );
end;
comment on function rowcast.may_hear_topic(text) is 'Whether a private channel is the caller''s own, as customer or staff. Made by Rowcast.';

do $do$
declare
    functions constant text := 'public.list_typing_indicators(uuid), rowcast.may_use_topic(text), rowcast.may_hear_topic(text)';
    grantee name;
begin
    execute format('revoke all on function %s from public', functions);
    for grantee in
        select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role')
    loop
        execute format('revoke all on function %s from %I', functions, grantee);
        if grantee <> 'anon' then
            execute format('grant execute on function %s to %I', functions, grantee);
        end if;
    end loop;
end
$do$;

do $do$
begin
    create policy "those who take part listen, and staff" on realtime.messages
        for select to authenticated
        using (rowcast.may_use_topic((select realtime.topic())) or rowcast.may_hear_topic((select realtime.topic())));

    create policy "those who take part speak, and staff" on realtime.messages
        for insert to authenticated
        with check (rowcast.may_use_topic((select realtime.topic())));
exception
    when insufficient_privilege or undefined_table or undefined_function then
        raise notice 'private channels of conversations stay closed, as policies on realtime.messages could not be made: %', sqlerrm;
end
$do$;
