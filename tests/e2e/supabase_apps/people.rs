//! People with a stock supabase-js each, who join what the server has told them to.

use serde_json::{Value, json};

use super::App;
use crate::stage::{Stock, StockClient};

/// Where somebody hears of a conversation: of its rows and broadcasts, and of who is there.
pub(super) struct Seat {
    pub(super) topic: String,
    pub(super) presence: String,
}

/// One process that plays everybody.
pub(super) struct People {
    client: StockClient,
}

impl People {
    /// Starts one version of the stock client.
    pub(super) async fn start(stock: Stock) -> Self {
        Self { client: StockClient::start(stock).await }
    }

    /// Makes a client for somebody.
    pub(super) async fn connect(&self, who: &str, app: &App, token: &str) {
        self.connect_to(who, &app.server.url(), token).await;
    }

    /// Makes a client for somebody that reaches the server at another address.
    pub(super) async fn connect_to(&self, who: &str, url: &str, token: &str) {
        self.client.connect(who, url, Some(token)).await;
    }

    /// Closes somebody's client.
    pub(super) async fn close(&self, who: &str) {
        self.client.order(json!({ "do": "disconnect", "as": who })).await;
    }

    /// Joins a channel with its options and bindings, and does not wait for the outcome.
    pub(super) async fn ask_to_join(&self, who: &str, topic: &str, config: Value, changes: &Value) {
        let order = json!({ "do": "subscribe", "as": who, "topic": topic, "config": config, "changes": changes,
            "presence": true });
        self.client.order(order).await;
    }

    /// Joins a channel, and waits until it is live.
    pub(super) async fn join(&self, who: &str, topic: &str, config: Value, changes: &Value) {
        self.ask_to_join(who, topic, config, changes).await;
        if changes.as_array().is_some_and(|changes| !changes.is_empty()) {
            self.is_live(who, topic).await;
        } else {
            self.sees(json!({ "as": who, "topic": topic, "kind": "status", "status": "SUBSCRIBED" })).await;
        }
    }

    /// Waits until a channel with bindings is live, for the first time or again.
    pub(super) async fn is_live(&self, who: &str, topic: &str) {
        self.client.expect_subscribed(who, topic).await;
    }

    /// Asks to join a channel, and is refused.
    pub(super) async fn may_not_join(&self, who: &str, topic: &str, config: Value) {
        self.ask_to_join(who, topic, config, &json!([])).await;
        let status = json!({ "as": who, "topic": topic, "kind": "status", "status": "CHANNEL_ERROR" });
        let refused = self.sees(status).await;
        assert!(refused["error"].as_str().unwrap().contains("Unauthorized"), "{refused}");
    }

    /// Calls a function over HTTP, as an app does.
    pub(super) async fn rpc(&self, who: &str, name: &str, args: Value) -> Value {
        let mut answer = self.call(who, name, args).await;
        assert_eq!(answer["error"], Value::Null, "{who} {name}: {answer}");
        answer["data"].take()
    }

    /// Calls a function over HTTP that must refuse; the code of the refusal.
    pub(super) async fn rpc_refused(&self, who: &str, name: &str, args: Value) -> String {
        let answer = self.call(who, name, args).await;
        answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{who} {name}: {answer}")).to_owned()
    }

    /// Calls a function over HTTP; what it answers, or the code of its refusal.
    pub(super) async fn rpc_answer(&self, who: &str, name: &str, args: Value) -> Result<Value, String> {
        let mut answer = self.call(who, name, args).await;
        match answer["error"]["code"].as_str() {
            Some(code) => Err(code.to_owned()),
            None => Ok(answer["data"].take()),
        }
    }

    async fn call(&self, who: &str, name: &str, args: Value) -> Value {
        self.client.order(json!({ "do": "rpc", "as": who, "name": name, "args": args })).await
    }

    /// Sends a broadcast.
    pub(super) async fn send(&self, who: &str, topic: &str, event: &str, payload: Value) {
        let order = json!({ "do": "send", "as": who, "topic": topic, "event": event, "payload": payload });
        self.client.order(order).await;
    }

    /// Is there, on this channel.
    pub(super) async fn track(&self, who: &str, topic: &str, payload: Value) {
        let order = json!({ "do": "track", "as": who, "topic": topic, "payload": payload });
        assert_eq!(self.client.order(order).await, "ok");
    }

    /// Leaves a channel.
    pub(super) async fn leave(&self, who: &str, topic: &str) {
        self.client.order(json!({ "do": "leave", "as": who, "topic": topic })).await;
    }

    /// Waits for something.
    pub(super) async fn sees(&self, pattern: Value) -> Value {
        self.client.expect(pattern).await
    }

    /// Waits for a change of a table.
    pub(super) async fn hears(&self, who: &str, topic: &str, kind: &str, table: &str, new: Value) -> Value {
        let mut pattern =
            json!({ "as": who, "topic": topic, "kind": "change", "type": kind, "table": table });
        if new.as_object().is_some_and(|new| !new.is_empty()) {
            pattern["new"] = new;
        }
        self.sees(pattern).await
    }

    /// Everything of a kind that somebody has seen on a channel so far.
    pub(super) fn seen(&self, who: &str, topic: &str, kind: &str) -> Vec<Value> {
        self.client.seen(&json!({ "as": who, "topic": topic, "kind": kind }))
    }

    /// The same, of what matches a pattern; it is seen no more.
    pub(super) fn take(&self, pattern: &Value) -> Vec<Value> {
        self.client.take(pattern)
    }
}
