//! Shapes of policies that are compiled.

use super::check;

#[tokio::test]
async fn what_people_write_is_compiled() {
    check(&[
        ("true", Ok("true")),
        ("auth.uid() is not null", Ok("not(isnull(UID))")),
        ("auth.role() = 'authenticated'", Ok("texteq(jsonb_object_field_text(text->jsonb([request.jwt.claims]), 'role'), 'authenticated')")),
        ("exists (select 1 from participants where participants.conversation_id = messages.conversation_id and user_id = auth.uid() and left_at is null)", Ok("exists([0, 1, 2] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID), isnull(@0.0.2))) gives )")),
        ("auth.uid() = sender_id or auth.uid() = receiver_id", Ok("or(uuid_eq(UID, @0.0.2), uuid_eq(UID, @0.0.3))")),
        ("conversation_id in (select id from conversations where user1_id = auth.uid() or user2_id = (select auth.uid()))", Ok("any[uuid_eq(@0.0.1, #0)]([0, 1, 2] where and(or(uuid_eq(@0.0.1, UID), uuid_eq(@0.0.2, UID))) gives @0.0.0)")),
        ("auth.uid() = any (participant_ids)", Ok("any uuid_eq(UID, @0.0.4)")),
        ("auth.uid()::text = any (participants) and not auth.uid()::text = any (tags)", Ok("and(any texteq(uuid->text(UID), @0.0.5), not(any texteq(uuid->text(UID), @0.0.6)))")),
        ("participant_ids @> array[auth.uid()]", Ok("arraycontains(@0.0.4, array(UID))")),
        ("is_participant(conversation_id, auth.uid())", Ok("exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID))) gives )")),
        ("is_participant_plpgsql(conversation_id)", Ok("exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID))) gives )")),
        ("has_role(auth.uid(), (select role from user_roles where user_id = sender_id))", Ok("and(or(isnull(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1)), not(isnull(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1)))), and(or(isnull(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1)), not(isnull(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1)))), exists([0, 1] where and(and(uuid_eq(@0.0.0, UID), enum_eq(@0.0.1, scalar([0, 1] where and(uuid_eq(@0.0.0, @2.0.2)) gives @0.0.1)))) gives )))")), ("'room:' || n = body and sender_id || 'x' = body", Ok("and(texteq(textcat('room:', 23->text(@0.0.13)), @0.0.7), texteq(textcat(uuid->text(@0.0.2), 'x'), @0.0.7))")),
        ("exists (select 1 from profiles where id = auth.uid() and role in ('agent', 'admin'))", Ok("exists([0, 1] where and(and(uuid_eq(@0.0.0, UID), any texteq(@0.0.1, array('agent', 'admin')))) gives )")),
        ("(auth.jwt() ->> 'role') in ('a', 'b') and org_id = (auth.jwt() ->> 'org_id')::uuid", Ok("and(any texteq(jsonb_object_field_text(JWT, 'role'), array('a', 'b')), uuid_eq(@0.0.11, text->uuid(jsonb_object_field_text(JWT, 'org_id'))))")),
        ("(auth.jwt() -> 'app_metadata' -> 'tenants') ? status", Ok("jsonb_exists(jsonb_object_field(jsonb_object_field(JWT, 'app_metadata'), 'tenants'), @0.0.8)")),
        ("org_id in (select org_ids()) or org_id in (select o from org_ids() o) or org_id = any (array(select org_ids()))", Ok("or(any[uuid_eq(@0.0.11, #0)]([0, 1] where and(uuid_eq(@0.0.1, UID)) gives @0.0.0), any[uuid_eq(@0.0.11, #0)]([0, 1] where and(uuid_eq(@0.0.1, UID)) gives @0.0.0), any uuid_eq(@0.0.11, collected([0, 1] where and(uuid_eq(@0.0.1, UID)) gives @0.0.0)))")),
        ("org_id in (select org from orgs() where who = sender_id)", Ok("any[uuid_eq(@0.0.11, #0)]([0, 1] where and(uuid_eq(@0.0.1, @1.0.2)) gives @0.0.0)")),
        ("org_id = my_org()", Ok("uuid_eq(@0.0.11, first([0, 2] where and(uuid_eq(@0.0.0, UID)) gives @0.0.2))")),
        ("exists (select 1 from participants p where p.conversation_id = messages.conversation_id and p.user_id = auth.uid()) and (sender_id = auth.uid() or coalesce(status, 'ready') <> 'processing') and deleted_at is null", Ok("and(exists([0, 1] where and(and(uuid_eq(@0.0.0, @1.0.1), uuid_eq(@0.0.1, UID))) gives ), or(uuid_eq(@0.0.2, UID), textne(coalesce(@0.0.8, 'ready'), 'processing')), isnull(@0.0.9))")),
        ("(conversation_id, sender_id) in (select conversation_id, user_id from participants)", Ok("any[and(uuid_eq(@0.0.1, #0), uuid_eq(@0.0.2, #1))]([0, 1] where true gives @0.0.0, @0.0.1)")),
        ("conversation_id in (select p.conversation_id from participants p join conversations c on c.id = p.conversation_id where c.label = body)", Ok("any[uuid_eq(@0.0.1, #0)]([0] x [0, 4] where and(uuid_eq(@0.1.0, @0.0.0), texteq(@0.1.4, @1.0.7)) gives @0.0.0)")),
        ("conversation_id in (select conversation_id from participants q join participants p using (conversation_id))", Ok("any[uuid_eq(@0.0.1, #0)]([0] x [0] where and(uuid_eq(@0.0.0, @0.1.0)) gives @0.0.0)")),
        ("conversation_id in (select conversation_id from active where user_id = auth.uid())", Ok("any[uuid_eq(@0.0.1, #0)]([0, 1, 2] where and(isnull(@0.0.2), uuid_eq(@0.0.1, UID)) gives @0.0.0)")),
        ("conversation_id in (select x.c from (select conversation_id as c, left_at l from participants) x where x.l is null)", Ok("any[uuid_eq(@0.0.1, #0)]([0, 2] where and(isnull(@0.0.2)) gives @0.0.0)")),
        ("exists (select 1 from participants p, lateral (select 1 from conversations where id = p.conversation_id) z)", Ok("exists([0] x [0] where and(uuid_eq(@0.1.0, @0.0.0)) gives )")),
        ("(select role from profiles where id = sender_id) = 'a' and (select role from profiles where id = sender_id limit 1) = 'b'", Ok("and(texteq(scalar([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1), 'a'), texteq(first([0, 1] where and(uuid_eq(@0.0.0, @1.0.2)) gives @0.0.1), 'b'))")),
        ("sender_id in (select unnest(participant_ids)) and sender_id in (select u from unnest(participant_ids) u)", Ok("and(case(isnull(@0.0.4) => false; any uuid_eq(@0.0.2, @0.0.4)), case(isnull(@0.0.4) => false; any uuid_eq(@0.0.2, @0.0.4)))")),
        ("case when n = 1 then true else false end and case n when 1 then true end", Ok("and(case(int4eq(@0.0.13, 1) => true; false), case(int4eq(@0.0.13, 1) => true; null))")),
        ("n is distinct from 3 and nullif(n, 1) = 2 and (n = 1) is not true and (n = 2) is unknown", Ok("and(distinct int4eq(@0.0.13, 3), int4eq(nullif int4eq(@0.0.13, 1), 2), not(is(int4eq(@0.0.13, 1), Some(true))), is(int4eq(@0.0.13, 2), None))")),
        ("created_at > now() and created_at < current_timestamp", Ok("and(timestamp_gt(@0.0.10, now), timestamp_lt(@0.0.10, now))")),
        ("current_user = 'reader'", Ok("nameeq('reader', 'reader')")),
        ("body collate \"C\" < 'a'", Ok("text_lt(@0.0.7, 'a')")),
        ("shout(body) = 'A'", Ok("texteq(case(or(isnull(@0.0.7)) => null; upper(@0.0.7)), 'A')")),
        ("current_setting('request.HEADERS', true) = 'a' and current_setting('request.jwt.claim.sub', true) = 'b'", Ok("and(texteq([request.headers], 'a'), texteq([request.jwt.claim.sub], 'b'))")),
        ("conversation_id in (select distinct conversation_id from participants order by conversation_id)", Ok("any[uuid_eq(@0.0.1, #0)]([0] where true gives @0.0.0)")),
        ("exists (select from participants limit 1)", Ok("exists([] where true gives )")),
    ])
    .await;
}
