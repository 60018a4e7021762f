-- list_typing_indicators(conversation_id): who types now. Row level security says who may know.
-- Re-runnable. Who may call it stands in grants/topics.sql.

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
