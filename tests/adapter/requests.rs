//! Apps that answer requests alone: people, what they talk in, and the answers that these apps give.

use serde_json::{Value, json};

use crate::support::majors;
use crate::whole::{Answer, Stage, token_of};

/// A teacher, or one of the staff.
pub(crate) const KARI: &str = "a0000000-0000-4000-8000-000000000001";
/// A pupil.
pub(crate) const OLA: &str = "b0000000-0000-4000-8000-000000000001";
/// Somebody who takes part in none of their conversations.
pub(crate) const EVE: &str = "e0000000-0000-4000-8000-000000000001";
/// A customer of the portal.
pub(crate) const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";
/// Another one.
pub(crate) const OTHER_CUSTOMER: &str = "c0000000-0000-4000-8000-000000000002";
/// What Kari and Ola talk in.
pub(crate) const CHAT: &str = "d0000000-0000-4000-8000-000000000001";
/// What Eve talks in, with nobody else that is here.
pub(crate) const OTHER_CHAT: &str = "d0000000-0000-4000-8000-000000000002";
/// What the customer talks in with the staff.
pub(crate) const SUPPORT: &str = "d0000000-0000-4000-8000-000000000003";
/// What the other customer does.
pub(crate) const OTHER_SUPPORT: &str = "d0000000-0000-4000-8000-000000000004";
/// No id of anything.
pub(crate) const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

/// Everybody, and what they talk in.
const PEOPLE: &str = "
    insert into public.users (id, full_name, username, role) values
        ('a0000000-0000-4000-8000-000000000001', 'Kari Nordmann', 'kari', 'teacher'),
        ('b0000000-0000-4000-8000-000000000001', 'Ola Nordmann', 'ola', 'pupil'),
        ('e0000000-0000-4000-8000-000000000001', 'Eve', 'eve', 'pupil');
    insert into public.customers (id, full_name) values
        ('c0000000-0000-4000-8000-000000000001', 'Customer'),
        ('c0000000-0000-4000-8000-000000000002', 'Other customer');
    insert into public.conversations (id, kind) values
        ('d0000000-0000-4000-8000-000000000001', 'direct'),
        ('d0000000-0000-4000-8000-000000000002', 'group');
    insert into public.conversations (id, kind, customer_id) values
        ('d0000000-0000-4000-8000-000000000003', 'support', 'c0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000004', 'support', 'c0000000-0000-4000-8000-000000000002');
    insert into public.conversation_participants (conversation_id, user_id) values
        ('d0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000001', 'b0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000002', 'e0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000001');
    insert into public.conversation_participants (conversation_id, customer_id) values
        ('d0000000-0000-4000-8000-000000000003', 'c0000000-0000-4000-8000-000000000001'),
        ('d0000000-0000-4000-8000-000000000004', 'c0000000-0000-4000-8000-000000000002');";

/// Runs a test on every major version, one after another.
pub(crate) async fn on_each_major(test: impl AsyncFn(App)) {
    for major in majors() {
        test(App::set(major, &[]).await).await;
    }
}

/// A server with these people.
pub(crate) struct App {
    pub(crate) stage: Stage,
}

impl App {
    /// Sets it, with further settings.
    pub(crate) async fn set(major: u32, settings: &[(&'static str, &str)]) -> Self {
        let stage = Stage::set_with(major, settings).await;
        stage.database.execute(PEOPLE).await;
        Self { stage }
    }

    /// Sends a request with a JSON body; none, if it is `null`.
    pub(crate) async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
        let body = Some(body).filter(|body| !body.is_null());
        Reply(self.stage.ask(method, path, token, body).await)
    }

    /// Sends a request with any body.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
        media: &str,
        body: &[u8],
    ) -> Reply {
        self.send_with(method, path, token, &[("content-type", media)], body).await
    }

    /// Sends a request with any headers.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut head = format!("authorization: Bearer {token}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Reply(self.stage.ask_raw(method, path, &head, body).await)
    }

    /// Allows a person so many calls of a kind each minute.
    pub(crate) async fn limit(&self, setting: &str, value: u32) {
        let sql = format!("update rowcast.messaging_settings set value = {value} where name = '{setting}'");
        self.stage.database.execute(&sql).await;
    }

    /// One value from the database.
    pub(crate) async fn value(&self, sql: &str) -> String {
        self.stage.database.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Reply(pub(crate) Answer);

impl Reply {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.0.status
    }

    /// What was asked for, which must have been given.
    pub(crate) fn data(&self) -> &Value {
        assert!((200..300).contains(&self.0.status), "{self:?}");
        assert_eq!(self.0.body["success"], true, "{self:?}");
        &self.0.body["data"]
    }

    /// Expects a refusal, with a body that says so.
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.0.status, &self.0.body["error"]["code"]), (status, &json!(code)), "{self:?}");
        assert_eq!(self.0.body["success"], false, "{self:?}");
        assert!(self.0.body["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{self:?}");
    }
}

/// A token of a user.
pub(crate) fn user(id: &str) -> String {
    signed(json!({ "sub": id }))
}

/// A token of one of the staff.
pub(crate) fn staff(id: &str) -> String {
    signed(json!({ "sub": id, "app_metadata": { "role": "staff" } }))
}

/// A token of a customer of the portal.
pub(crate) fn customer(id: &str) -> String {
    signed(json!({ "customer_id": id }))
}

/// A token of these claims.
pub(crate) fn signed(claims: Value) -> String {
    token_of(&claims, 600)
}
