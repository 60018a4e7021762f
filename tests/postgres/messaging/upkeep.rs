//! What the server keeps up: typing, presence and delivery.

use super::{Ann, Bob, Stage, with_ids};
use crate::support::majors;

/// One person's presence, in short.
async fn presence(stage: &Stage, person: &str) -> String {
    let sql = format!(
        "select concat_ws(' ', status, is_automatic, expires_at > now(), last_seen_at > now() - interval '1 minute')
         from public.user_presence where user_id = '{person}' or customer_id = '{person}'"
    );
    stage.value(&sql).await
}

async fn touch(stage: &Stage, person: &str, active: &str) {
    stage
        .execute(&format!(
            "select rowcast.touch_presence('{{{person}}}', '{{null}}', array[({active})::timestamptz], 30)"
        ))
        .await;
}

#[tokio::test]
async fn typing_ends_when_its_time_is_over() {
    for major in majors() {
        let stage = Stage::create(major).await;
        assert_eq!(stage.value("select rowcast.expire_typing()").await, "0", "on {major}");
        stage
            .execute("update public.message_typing_indicators set expires_at = now() - interval '1 second' where user_id = '{bob}'")
            .await;
        assert_eq!(stage.value("select rowcast.next_typing_expiry() < now()").await, "t", "on {major}");
        assert_eq!(
            stage.call(Ann, "select public.cleanup_expired_typing_indicators()").await,
            Ok("1".to_owned())
        );
        assert_eq!(
            stage.value("select count(*) from public.message_typing_indicators").await,
            "2",
            "on {major}"
        );
        stage.execute("delete from public.message_typing_indicators").await;
        assert_eq!(stage.value("select rowcast.next_typing_expiry()").await, "null", "on {major}");
    }
}

#[tokio::test]
async fn connected_people_are_there_until_their_lease_is_over() {
    for major in majors() {
        let stage = Stage::create(major).await;
        // Eve has never been here; a stranger without a profile is passed over, and so is one who comes twice.
        let people = "array['{eve}', '{eve}', null, 'f0000000-0000-4000-8000-000000000001']::uuid[],
                      array[null, null, '{kim}', null]::uuid[]";
        stage
            .execute(&format!("select rowcast.touch_presence({people}, array_fill(now(), array[4]), 30)"))
            .await;
        assert_eq!(presence(&stage, "{eve}").await, "online t t t", "on {major}");
        assert_eq!(presence(&stage, "{kim}").await, "online t t t", "on {major}");
        assert_eq!(stage.value("select count(*) from public.user_presence").await, "7", "on {major}");
        let name = "select name from public.user_presence where user_id = '{ann}'";
        assert_eq!(stage.value(name).await, "ann", "the username first, on {major}");

        // The last device goes: they are there for a moment more.
        stage.execute("select rowcast.leave_presence('{{eve}}', '{}', 5)").await;
        assert_eq!(stage.value("select rowcast.expire_presence(300)").await, "0", "on {major}");
        stage.execute("select rowcast.leave_presence('{{eve}}', '{{kim}}', 0)").await;
        assert_eq!(stage.value("select rowcast.expire_presence(300)").await, "2", "on {major}");
        assert_eq!(presence(&stage, "{eve}").await, "offline t f t", "on {major}");
        // Who is back is online again; a shorter lease takes nothing from a longer one.
        touch(&stage, "{eve}", "now()").await;
        assert_eq!(presence(&stage, "{eve}").await, "online t t t", "on {major}");
        stage.execute("select rowcast.touch_presence('{{eve}}', '{null}', array[now()], -60)").await;
        assert_eq!(presence(&stage, "{eve}").await, "online t t t", "on {major}");
    }
}

#[tokio::test]
async fn idle_people_are_away_and_come_back_by_doing_something() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.call(Ann, "select public.update_user_presence()").await.unwrap();
        stage.call(Bob, "select public.update_user_presence(status => 'busy')").await.unwrap();
        stage.execute("update public.user_presence set active_at = now() - interval '10 minutes'").await;
        assert_eq!(stage.value("select rowcast.expire_presence(300)").await, "3", "on {major}");
        assert_eq!(presence(&stage, "{ann}").await, "away t t t", "on {major}");
        assert_eq!(
            presence(&stage, "{bob}").await,
            "busy f t t",
            "what people say themselves stays, on {major}"
        );
        touch(&stage, "{ann}", "now() - interval '10 minutes'").await;
        assert_eq!(presence(&stage, "{ann}").await, "away t t t", "on {major}");
        touch(&stage, "{ann}", "now()").await;
        assert_eq!(presence(&stage, "{ann}").await, "online t t t", "on {major}");
        // Whoever says that they are away is, whatever they do.
        stage.call(Ann, "select public.update_user_presence(status => 'away')").await.unwrap();
        touch(&stage, "{ann}", "now()").await;
        assert_eq!(presence(&stage, "{ann}").await, "away f t t", "on {major}");
        // Whoever says that they are offline is, until they do something.
        stage.call(Ann, "select public.update_user_presence(status => 'offline')").await.unwrap();
        touch(&stage, "{ann}", "now() - interval '1 second'").await;
        assert_eq!(presence(&stage, "{ann}").await, "offline f t t", "on {major}");
        touch(&stage, "{ann}", "now() + interval '1 second'").await;
        assert_eq!(presence(&stage, "{ann}").await, "online t t t", "on {major}");
    }
}

#[tokio::test]
async fn deliveries_are_noted_for_recipients_alone_and_take_nothing_back() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let note =
            |people: &str| format!("select rowcast.note_deliveries('{{{{d1}},{{d2}},{{g2}}}}', {people})");
        let to = |person: &str| {
            note(&format!("array_fill('{person}'::uuid, array[3]), array_fill(null::uuid, array[3])"))
        };
        assert_eq!(stage.value(&to("{dan}")).await, "0", "on {major}");
        stage
            .execute("update public.message_delivery_status set status = 'failed' where message_id = '{g2}'")
            .await;
        assert_eq!(stage.value(&to("{ann}")).await, "2", "on {major}");
        assert_eq!(stage.value(&to("{ann}")).await, "0", "on {major}");
        // Bob has read the first one.
        assert_eq!(stage.value(&to("{bob}")).await, "1", "on {major}");
        let as_customer = "array_fill(null::uuid, array[3]), array_fill('{ann}'::uuid, array[3])";
        stage
            .execute("update public.message_delivery_status set status = 'read' where message_id = '{d2}'")
            .await;
        assert_eq!(stage.value(&note(as_customer)).await, "0", "on {major}");
        let statuses = "select string_agg(status, ' ' order by message_id, recipient_id) from public.message_delivery_status
                        where message_id in ('{d1}', '{d2}', '{g2}')";
        assert_eq!(stage.value(statuses).await, "read read delivered delivered", "on {major}");
        assert_eq!(with_ids("{ann}").len(), 36);
    }
}

/// The role that runs Rowcast needs no rights but these.
#[tokio::test]
async fn server_without_rights_on_the_tables_keeps_them_up() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let role: String = format!("keeper_{}", stage.value("select current_database()").await);
        let calls = "select rowcast.expire_typing(); select rowcast.next_typing_expiry(); select rowcast.expire_presence(300);
                     select rowcast.touch_presence('{{ann}}', '{null}', array[now()], 30);
                     select rowcast.leave_presence('{{ann}}', '{null}', 30);
                     select rowcast.note_deliveries('{{d1}}', '{{bob}}', '{null}')";
        stage.execute(&format!("create role {role}")).await;
        for (grant, expected) in
            [("", false), ("grant execute on all functions in schema rowcast to {role}", true)]
        {
            stage.execute(&grant.replace("{role}", &role)).await;
            let client = stage.connect().await;
            client.batch_execute(&format!("set role {role}")).await.unwrap();
            assert_eq!(client.batch_execute(&with_ids(calls)).await.is_ok(), expected, "{grant} on {major}");
        }
    }
}
