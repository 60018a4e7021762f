//! The subscription API: what it tells customers and staff to join, and whom it refuses.

use serde_json::{Value, json};

use crate::app::{
    App, CHAT, CUSTOMER, KARI, NOTHING, OTHER_CUSTOMER, OTHER_SUPPORT, SUPPORT, customer, signed, staff, user,
};

const SUBSCRIBE: &str = "/api/messages/realtime/subscribe";

async fn app() -> App {
    App::start("infrastructure", &[]).await
}

fn about(conversation: &str) -> Value {
    json!({ "conversationId": conversation })
}

#[tokio::test]
async fn a_customer_and_staff_are_told_what_to_join() {
    let app = app().await;
    let answer = app.ask("POST", SUBSCRIBE, Some(&customer(CUSTOMER)), &about(SUPPORT));
    assert_eq!((answer.status, &answer.body["version"]), (200, &json!("v1")));
    let timestamp = answer.body["timestamp"].as_str().unwrap();
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
    let answer = app.ask("POST", SUBSCRIBE, Some(&staff(KARI)), &body);
    let data = answer.data();
    assert_eq!(data["channels"], json!([format!("conversation:{SUPPORT}")]));
    let features = json!({ "messages": true, "readReceipts": false, "typing": false, "presence": false });
    assert_eq!(data["features"], features);
    let filters = json!({ "userId": KARI, "customerId": null, "conversationId": SUPPORT });
    assert_eq!(data["filters"], filters);
    // Staff see what they take no part in.
    assert_eq!(app.ask("POST", SUBSCRIBE, Some(&staff(KARI)), &about(OTHER_SUPPORT)).status, 200);
}

#[tokio::test]
async fn where_to_connect_is_where_the_request_came_to_unless_it_is_set() {
    let app = app().await;
    let bearer = format!("Bearer {}", customer(CUSTOMER));
    let base = [("content-type", "application/json"), ("authorization", &*bearer)];
    let place = |headers: &[(&str, &str)]| {
        let headers = [&base[..], headers].concat();
        let body = about(SUPPORT).to_string();
        let answer = app.send_with("POST", SUBSCRIBE, &headers, body.as_bytes());
        let data = answer.data();
        (data["supabaseUrl"].clone(), data["supabaseKey"].clone())
    };
    assert_eq!(place(&[]), (json!("http://localhost"), Value::Null));
    assert_eq!(place(&[("apikey", "their.own.key")]), (json!("http://localhost"), json!("their.own.key")));
    let behind = [("x-forwarded-proto", "https"), ("x-forwarded-host", "chat.example:8443")];
    assert_eq!(place(&behind), (json!("https://chat.example:8443"), Value::Null));
    // What is no place is not passed on.
    let nonsense = [("x-forwarded-proto", "javascript"), ("x-forwarded-host", "a@b/c")];
    assert_eq!(place(&nonsense), (json!("http://localhost"), Value::Null));

    let keys = "sb_publishable_0123456789abcdef,sb_publishable_fedcba9876543210";
    let flags = ["--public-url", "https://chat.example/base/", "--publishable-keys", keys];
    let told = App::start("infrastructure", &flags).await;
    let answer = told.ask("POST", SUBSCRIBE, Some(&customer(CUSTOMER)), &about(SUPPORT));
    assert_eq!(answer.data()["supabaseUrl"], "https://chat.example/base");
    assert_eq!(answer.data()["supabaseKey"], "sb_publishable_0123456789abcdef");
}

#[tokio::test]
async fn who_may_not_see_a_conversation_is_told_that_there_is_none() {
    let app = app().await;
    for (token, conversation) in [
        (customer(OTHER_CUSTOMER), SUPPORT),
        (customer(CUSTOMER), OTHER_SUPPORT),
        (customer(CUSTOMER), CHAT),
        (customer(CUSTOMER), NOTHING),
        (staff(KARI), NOTHING),
        (user(KARI), OTHER_SUPPORT),
    ] {
        let answer = app.ask("POST", SUBSCRIBE, Some(&token), &about(conversation));
        answer.refused(404, "NOT_FOUND");
        assert_eq!(answer.body["version"], "v1");
        assert!(answer.body["timestamp"].is_string(), "{answer:?}");
    }
}

#[tokio::test]
async fn who_brings_no_good_token_is_refused() {
    let app = app().await;
    for method in ["POST", "DELETE"] {
        app.ask(method, SUBSCRIBE, None, &about(SUPPORT)).refused(401, "UNAUTHORIZED");
        app.ask(method, SUBSCRIBE, Some("no.good.token"), &about(SUPPORT)).refused(401, "UNAUTHORIZED");
        let nobody = signed(json!({ "role": "authenticated", "customer_id": "not an id", "sub": KARI }));
        app.ask(method, SUBSCRIBE, Some(&nobody), &about(SUPPORT)).refused(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let app = app().await;
    let token = customer(CUSTOMER);
    for body in [json!({}), about("7"), json!({ "conversationId": SUPPORT, "includeTyping": "yes" })] {
        app.ask("POST", SUBSCRIBE, Some(&token), &body).refused(400, "INVALID_REQUEST");
    }
    for method in ["POST", "DELETE"] {
        let send = |media: &str, body: &[u8]| app.send(method, SUBSCRIBE, Some(&token), media, body);
        send("application/json", b"{").refused(400, "INVALID_REQUEST");
        send("application/json", b"[]").refused(400, "INVALID_REQUEST");
        send("text/plain", b"{}").refused(415, "UNSUPPORTED_MEDIA_TYPE");
        send("application/json", &vec![b' '; 9_000_000]).refused(413, "PAYLOAD_TOO_LARGE");
    }
    let channels = json!({ "channels": vec!["a"; 101] });
    app.ask("DELETE", SUBSCRIBE, Some(&token), &channels).refused(400, "INVALID_REQUEST");
    app.ask("GET", SUBSCRIBE, Some(&token), &Value::Null).refused(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn unsubscribing_is_confirmed_for_what_is_named_or_for_all() {
    let app = app().await;
    let named = json!([format!("conversation:{SUPPORT}")]);
    for (body, expected) in [
        (Value::Null, json!(["all"])),
        (json!({}), json!(["all"])),
        (json!({ "channels": named }), named.clone()),
    ] {
        let answer = app.ask("DELETE", SUBSCRIBE, Some(&customer(CUSTOMER)), &body);
        let data = json!({ "message": "Unsubscribed successfully", "channels": expected });
        assert_eq!((answer.status, answer.data()), (200, &data));
    }
}
