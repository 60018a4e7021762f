//! Shapes of policies that are compiled.

use super::check;

#[tokio::test]
async fn shapes() {
    check(&[
        ("true", Ok("?")),
        ("auth.uid() is not null", Ok("?")),
        ("auth.role() = 'authenticated'", Ok("?")),
        ("exists (select 1 from participants where participants.conversation_id = messages.conversation_id and user_id = auth.uid() and left_at is null)", Ok("?")),
        ("auth.uid() = sender_id or auth.uid() = receiver_id", Ok("?")),
        ("conversation_id in (select id from conversations where user1_id = auth.uid() or user2_id = (select auth.uid()))", Ok("?")),
        ("auth.uid() = any (participant_ids)", Ok("?")),
        ("auth.uid()::text = any (participants) and not auth.uid()::text = any (tags)", Ok("?")),
        ("participant_ids @> array[auth.uid()]", Ok("?")),
        ("is_participant(conversation_id, auth.uid())", Ok("?")),
        ("is_participant_plpgsql(conversation_id)", Ok("?")),
        ("has_role(auth.uid(), 'admin')", Ok("?")),
        ("exists (select 1 from profiles where id = auth.uid() and role in ('agent', 'admin'))", Ok("?")),
        ("(auth.jwt() ->> 'role') in ('a', 'b') and org_id = (auth.jwt() ->> 'org_id')::uuid", Ok("?")),
        ("(auth.jwt() -> 'app_metadata' -> 'tenants') ? status", Ok("?")),
        ("org_id in (select org_ids()) or org_id in (select o from org_ids() o) or org_id = any (array(select org_ids()))", Ok("?")),
        ("org_id in (select org from orgs() where who = sender_id)", Ok("?")),
        ("org_id = my_org()", Ok("?")),
        ("exists (select 1 from participants p where p.conversation_id = messages.conversation_id and p.user_id = auth.uid()) and (sender_id = auth.uid() or coalesce(status, 'ready') <> 'processing') and deleted_at is null", Ok("?")),
        ("(conversation_id, sender_id) in (select conversation_id, user_id from participants)", Ok("?")),
        ("conversation_id in (select p.conversation_id from participants p join conversations c on c.id = p.conversation_id where c.label = body)", Ok("?")),
        ("conversation_id in (select conversation_id from participants q join participants p using (conversation_id))", Ok("?")),
        ("conversation_id in (select conversation_id from active where user_id = auth.uid())", Ok("?")),
        ("conversation_id in (select x.c from (select conversation_id as c, left_at l from participants) x where x.l is null)", Ok("?")),
        ("exists (select 1 from participants p, lateral (select 1 from conversations where id = p.conversation_id) z)", Ok("?")),
        ("(select role from profiles where id = sender_id) = 'a' and (select role from profiles where id = sender_id limit 1) = 'b'", Ok("?")),
        ("sender_id in (select unnest(participant_ids)) and sender_id in (select u from unnest(participant_ids) u)", Ok("?")),
        ("case when n = 1 then true else false end and case n when 1 then true end", Ok("?")),
        ("n is distinct from 3 and nullif(n, 1) = 2 and (n = 1) is not true and (n = 2) is unknown", Ok("?")),
        ("created_at > now() and created_at < current_timestamp", Ok("?")),
        ("current_user = 'authenticated'", Ok("?")),
        ("body collate \"C\" < 'a'", Ok("?")),
        ("shout(body) = 'A'", Ok("?")),
        ("current_setting('request.HEADERS', true) = 'a' and current_setting('request.jwt.claim.sub', true) = 'b'", Ok("?")),
        ("conversation_id in (select distinct conversation_id from participants order by conversation_id)", Ok("?")),
        ("exists (select from participants limit 1)", Ok("?")),
    ])
    .await;
}
