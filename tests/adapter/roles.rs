//! Which roles a genuine token may have: the same on sockets, in requests and in calls.

use serde_json::json;

use crate::support::{TestDatabase, majors};
use crate::whole::{ANN, Stage, token_of};

/// Statuses of a stock client's socket, an app's socket, an app's request, a broadcast and a call, all with this token.
async fn statuses(stage: &Stage, token: &str) -> [u16; 5] {
    let apikey = format!("x-api-key: {token}\r\n");
    let body = json!({ "messages": [{ "topic": "room", "event": "said", "payload": {} }] });
    [
        stage.refused_socket("/realtime/v1/websocket?vsn=1.0.0", &apikey).await.status,
        stage.refused_socket(&format!("/api/messages/ws?token={token}"), "").await.status,
        stage.get("/api/messages/conversations", Some(token)).await.status,
        stage.post("/realtime/v1/api/broadcast", token, &body).await.status,
        stage.post("/rest/v1/rpc/whoami", token, &json!({})).await.status,
    ]
}

const OBJECTS: &str =
    "create function public.whoami() returns text language sql stable as 'select current_user::text'";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_one_of_the_roles_that_are_listed() {
    let major = *majors().last().unwrap();
    // As whom the server has logged in, which is a superuser here.
    let of = |role: &str| token_of(&json!({ "sub": ANN, "role": role }), 600);
    let usual = Stage::set(major).await;
    usual.database.execute(OBJECTS).await;
    let login = login(&usual.database).await;
    assert_eq!(statuses(&usual, &of("authenticated")).await, [101, 101, 200, 202, 200]);
    assert_eq!(statuses(&usual, &of(&login)).await, [403, 403, 403, 401, 403]);
    let refused = usual.post("/rest/v1/rpc/whoami", &of(&login), &json!({})).await;
    assert_eq!(refused.body["code"], "42501");
    assert_eq!(refused.body["message"], format!("permission denied to set role \"{login}\""));
    assert_eq!(usual.ask("POST", "/rest/v1/rpc/whoami", None, Some(&json!({}))).await.body, "anon");

    let listed = Stage::set_with(major, &[("token_roles", &login)]).await;
    listed.database.execute(OBJECTS).await;
    assert_eq!(listed.post("/rest/v1/rpc/whoami", &of(&login), &json!({})).await.body, json!(login));
    assert_eq!(statuses(&listed, &of("authenticated")).await, [403, 403, 403, 401, 403]);
    // Who brings no token is held to the list, too.
    assert_eq!(listed.ask("POST", "/rest/v1/rpc/whoami", None, Some(&json!({}))).await.status, 403);

    let any = Stage::set_with(major, &[("token_roles", "*")]).await;
    any.database.execute(OBJECTS).await;
    for role in ["authenticated", &login] {
        assert_eq!(any.post("/rest/v1/rpc/whoami", &of(role), &json!({})).await.body, json!(role));
    }
}

async fn login(database: &TestDatabase) -> String {
    database.client.query_one("select current_user::text", &[]).await.unwrap().get(0)
}
