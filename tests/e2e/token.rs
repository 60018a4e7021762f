//! Tokens: rights follow the newest one, and a wrong one is refused.

use serde_json::json;

use crate::stage::{ANN, BOB, Stage, Stock, server};

const NOTES: &str = "
    create table notes (id int primary key, owner uuid);
    alter table notes enable row level security;
    grant select on notes to authenticated;
    create policy \"people see their own and nobody's\" on notes for select to authenticated
        using (owner is null or owner = (select auth.uid()));
    alter publication supabase_realtime add table notes;";

#[tokio::test]
async fn new_token_changes_what_is_seen() {
    let stage = Stage::set(NOTES).await;
    stage.connect("user", ANN).await;
    let changes = json!([{ "event": "INSERT", "schema": "public", "table": "notes" }]);
    stage.subscribe("user", "notes", changes).await;
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (3, null)")).await;
    for client in &stage.clients {
        client.ids_up_to("user", "notes", 3).await;
        // 2.39 sends its token after each join once more; what is confirmed by then is not the one to come.
        client.authorize("user", &server::token("authenticated", Some(BOB))).await;
    }
    for client in &stage.clients {
        client.expect(json!({ "kind": "system", "status": "ok", "topic": "notes" })).await;
    }
    stage.database.execute(&format!("insert into notes values (4, '{ANN}'), (5, '{BOB}'), (6, null)")).await;
    for client in &stage.clients {
        let ids = client.ids_up_to("user", "notes", 6).await;
        assert_eq!(ids, [1, 3, 5, 6], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn wrongly_signed_or_expired_token_joins_nothing() {
    let stage = Stage::set(NOTES).await;
    let forged =
        server::token_signed("another-secret-that-is-long-enough-for-hs256", "authenticated", Some(ANN), 60);
    let expired = server::token_signed(server::SECRET, "authenticated", Some(ANN), -60);
    let mighty = server::token("postgres", Some(ANN));
    let cases = [
        ("forged", forged.as_str(), "JwtSignatureError"),
        ("expired", expired.as_str(), "InvalidJWTToken: Token has expired"),
        ("garbage", "eyJ.not.atoken", "MalformedJWT"),
        ("mighty", mighty.as_str(), "InvalidJWTToken: Tokens may not have the role"),
    ];
    for client in &stage.clients {
        for (who, token, code) in cases {
            client.connect(who, &stage.server.url(), Some(token)).await;
            client
                .subscribe(who, "notes", json!([{ "event": "*", "schema": "public", "table": "notes" }]))
                .await;
            let refused =
                client.expect(json!({ "as": who, "kind": "status", "status": "CHANNEL_ERROR" })).await;
            let reason = refused["error"].as_str().unwrap_or_default();
            assert!(reason.contains(code), "{:?} {who}: {reason}", client.stock);
            assert_eq!(
                client.seen(&json!({ "as": who, "status": "SUBSCRIBED" })).len(),
                0,
                "{:?}",
                client.stock
            );
        }
    }
}

#[tokio::test]
async fn channel_ends_when_its_token_expires() {
    let stage = Stage::set(NOTES).await;
    let brief = server::token_signed(server::SECRET, "authenticated", Some(ANN), 4);
    for client in &stage.clients {
        client.connect("ann", &stage.server.url(), Some(&brief)).await;
        client
            .subscribe("ann", "notes", json!([{ "event": "*", "schema": "public", "table": "notes" }]))
            .await;
    }
    for client in &stage.clients {
        client.expect(json!({ "as": "ann", "kind": "status", "status": "SUBSCRIBED" })).await;
        if client.stock == Stock::Python {
            client.expect(json!({ "as": "ann", "kind": "status", "status": "CHANNEL_ERROR" })).await;
        } else {
            let system = client.expect(json!({ "as": "ann", "kind": "system", "extension": "system" })).await;
            assert!(system["message"].as_str().unwrap().starts_with("Token has expired"), "{system}");
        }
        client.expect(json!({ "as": "ann", "kind": "status", "status": "CLOSED" })).await;
    }
}
