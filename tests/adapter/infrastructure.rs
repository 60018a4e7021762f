//! The subscription API: what it tells customers and staff to join, and whom it refuses.

use serde_json::{Value, json};

use crate::requests::{
    App, CHAT, CUSTOMER, KARI, NOTHING, OTHER_CUSTOMER, OTHER_SUPPORT, SUPPORT, customer, on_each_major,
    staff, user,
};
use crate::table::Cell::{Is, Never, To};
use crate::table::{Row, Table};
use crate::tutorconnect;

const SUBSCRIBE: &str = "/api/messages/realtime/subscribe";

fn about(conversation: &str) -> Value {
    json!({ "conversationId": conversation })
}

fn table() -> Table {
    Table {
        app: "infrastructure",
        rows: rows(),
        stranger: || customer(OTHER_CUSTOMER),
        other: || staff(KARI),
        before: "",
        words: "/error/message",
        refusal: |status, words, wait| stamped(tutorconnect::refusal(status, words, wait)),
    }
}

fn stamped(mut body: Value) -> Value {
    body["version"] = json!("v1");
    body["timestamp"] = json!("<time>Z");
    body
}

fn rows() -> Vec<Row> {
    let done = |data: Value| stamped(json!({ "success": true, "data": data }));
    let joined = json!({
        "supabaseUrl": "http://test", "supabaseKey": null,
        "channels": [format!("conversation:{SUPPORT}"), format!("presence:{SUPPORT}")],
        "features": { "messages": true, "readReceipts": true, "typing": true, "presence": true },
        "filters": { "userId": null, "customerId": CUSTOMER, "conversationId": SUPPORT },
    });
    let left =
        json!({ "message": "Unsubscribed successfully", "channels": [format!("conversation:{SUPPORT}")] });
    vec![
        Row {
            route: ("POST", SUBSCRIBE),
            who: || customer(CUSTOMER),
            ask: |about| (SUBSCRIBE.into(), json!({ "conversationId": about.support })),
            answer: (200, done(joined)),
            stranger: Is(404),
            unknown: Is(404),
            not_own: Never("it is everybody's who takes part, and the staff's"),
            wrong_field: To(
                400,
                |about| {
                    (SUBSCRIBE.into(), json!({ "conversationId": about.support, "includeTyping": "yes" }))
                },
                "includeTyping",
            ),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: Never("it has no text"),
            too_often: Never("nothing is written"),
        },
        Row {
            route: ("DELETE", SUBSCRIBE),
            who: || customer(CUSTOMER),
            ask: |about| {
                (SUBSCRIBE.into(), json!({ "channels": [format!("conversation:{}", about.support)] }))
            },
            answer: (200, done(left)),
            stranger: Never("nothing is kept of what is joined, so anybody may say that they leave"),
            unknown: Never("nothing is looked up"),
            not_own: Never("nothing is kept of what is joined"),
            wrong_field: To(400, |_| (SUBSCRIBE.into(), json!({ "channels": "all" })), "channels"),
            not_json: Is(400),
            wrong_media: Is(415),
            too_large: Is(413),
            too_long: To(400, |_| (SUBSCRIBE.into(), json!({ "channels": ["a".repeat(256)] })), "channels"),
            too_often: Never("nothing is written"),
        },
    ]
}

#[test]
fn every_route_has_a_row() {
    table().is_complete();
}

#[test]
fn every_route_is_documented() {
    table().is_documented();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_a_customer() {
    table().is_answered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_as_its_row_says() {
    table().is_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_named() {
    on_each_major(async |app| {
        for (method, body, field) in [
            ("POST", json!({}), "conversationId"),
            ("POST", about("7"), "conversationId"),
            ("POST", json!({ "conversationId": SUPPORT, "includePresence": 1 }), "includePresence"),
            ("POST", json!({ "conversationId": SUPPORT, "includeReadReceipts": [] }), "includeReadReceipts"),
            ("DELETE", json!({ "channels": vec!["a"; 101] }), "channels"),
            ("DELETE", json!({ "channels": [7] }), "channels"),
        ] {
            let answer = app.ask(method, SUBSCRIBE, Some(&customer(CUSTOMER)), &body).await;
            answer.refused(400, "INVALID_REQUEST");
            let words = answer.0.body["error"]["message"].as_str().unwrap();
            assert!(words.starts_with(field), "{body}: {words}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_and_staff_are_told_what_to_join() {
    on_each_major(async |app| {
        let answer = app.ask("POST", SUBSCRIBE, Some(&customer(CUSTOMER)), &about(SUPPORT)).await;
        assert_eq!((answer.status(), &answer.0.body["version"]), (200, &json!("v1")));
        let timestamp = answer.0.body["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z') && timestamp.contains('T'), "{timestamp}");
        let data = answer.data();
        let channels = json!([format!("conversation:{SUPPORT}"), format!("presence:{SUPPORT}")]);
        assert_eq!(data["channels"], channels);
        let features = json!({ "messages": true, "readReceipts": true, "typing": true, "presence": true });
        assert_eq!(data["features"], features);
        let filters = json!({ "userId": null, "customerId": CUSTOMER, "conversationId": SUPPORT });
        assert_eq!(data["filters"], filters);

        let body = json!({ "conversationId": SUPPORT, "includePresence": false, "includeTyping": false,
        "includeReadReceipts": false });
        let answer = app.ask("POST", SUBSCRIBE, Some(&staff(KARI)), &body).await;
        let data = answer.data();
        assert_eq!(data["channels"], json!([format!("conversation:{SUPPORT}")]));
        let features = json!({ "messages": true, "readReceipts": false, "typing": false, "presence": false });
        assert_eq!(data["features"], features);
        let filters = json!({ "userId": KARI, "customerId": null, "conversationId": SUPPORT });
        assert_eq!(data["filters"], filters);
        // Staff see what they take no part in.
        assert_eq!(app.ask("POST", SUBSCRIBE, Some(&staff(KARI)), &about(OTHER_SUPPORT)).await.status(), 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_to_connect_is_where_the_request_came_to_unless_it_is_set() {
    on_each_major(async |app| {
        let token = customer(CUSTOMER);
        let place = async |headers: &[(&str, &str)]| {
            let headers = [&[("content-type", "application/json")][..], headers].concat();
            let body = about(SUPPORT).to_string();
            let answer = app.send_with("POST", SUBSCRIBE, &token, &headers, body.as_bytes()).await;
            let data = answer.data();
            (data["supabaseUrl"].clone(), data["supabaseKey"].clone())
        };
        assert_eq!(place(&[]).await, (json!("http://test"), Value::Null));
        assert_eq!(
            place(&[("apikey", "their.own.key")]).await,
            (json!("http://test"), json!("their.own.key"))
        );
        let behind = [("x-forwarded-proto", "https"), ("x-forwarded-host", "chat.example:8443")];
        assert_eq!(place(&behind).await, (json!("https://chat.example:8443"), Value::Null));
        // What is no place is not passed on.
        let nonsense = [("x-forwarded-proto", "javascript"), ("x-forwarded-host", "a@b/c")];
        assert_eq!(place(&nonsense).await, (json!("http://test"), Value::Null));

        let keys = "sb_publishable_0123456789abcdef,sb_publishable_fedcba9876543210";
        let mut settings = vec![("public_url", "https://chat.example/base/"), ("publishable_keys", keys)];
        let major = app.stage.database.major;
        for (name, value, key) in [
            ("public_api_key", "", "sb_publishable_0123456789abcdef"),
            ("public_api_key", "sb_publishable_anotherone012345", "sb_publishable_anotherone012345"),
        ] {
            settings.push((name, value));
            let told = App::set(major, &settings).await;
            let answer = told.ask("POST", SUBSCRIBE, Some(&token), &about(SUPPORT)).await;
            assert_eq!(answer.data()["supabaseUrl"], "https://chat.example/base");
            assert_eq!(answer.data()["supabaseKey"], key);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_conversation_is_told_that_there_is_none() {
    on_each_major(async |app| {
        for (token, conversation) in [
            (customer(OTHER_CUSTOMER), SUPPORT),
            (customer(CUSTOMER), OTHER_SUPPORT),
            (customer(CUSTOMER), CHAT),
            (customer(CUSTOMER), NOTHING),
            (staff(KARI), NOTHING),
            (user(KARI), OTHER_SUPPORT),
        ] {
            let answer = app.ask("POST", SUBSCRIBE, Some(&token), &about(conversation)).await;
            answer.refused(404, "NOT_FOUND");
            assert_eq!(answer.0.body["version"], "v1");
            assert!(answer.0.body["timestamp"].is_string(), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribing_is_confirmed_for_what_is_named_or_for_all() {
    on_each_major(async |app| {
        let named = json!([format!("conversation:{SUPPORT}")]);
        for (body, expected) in [
            (Value::Null, json!(["all"])),
            (json!({}), json!(["all"])),
            (json!({ "channels": named }), named.clone()),
        ] {
            let answer = app.ask("DELETE", SUBSCRIBE, Some(&customer(CUSTOMER)), &body).await;
            let data = json!({ "message": "Unsubscribed successfully", "channels": expected });
            assert_eq!((answer.status(), answer.data()), (200, &data));
        }
    })
    .await;
}
