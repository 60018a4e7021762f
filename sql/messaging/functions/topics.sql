-- Which private channels somebody may join, and on which they may speak. The policies of realtime.messages ask this.
-- Re-runnable. Who may call it stands in grants/topics.sql.
--
-- A conversation's channels are chat:<id>, chat:<id>:presence, conversation:<id> and presence:<id>; those who take part
-- may use them, and staff. The id stays text: a topic may hold anything, and a cast of it would raise.
--
-- Security definer: it reads the caller's own participations, whatever the policies of that table are.

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
