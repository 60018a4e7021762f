//! The subscription API on the wire: what the customer portal and the staff's dashboard send and get.

use serde::Serialize;
use uuid::Uuid;

/// `POST /api/messages/realtime/subscribe`. What is not mentioned is included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscribe {
    pub(super) conversation: Uuid,
    pub(super) presence: bool,
    pub(super) typing: bool,
    pub(super) read_receipts: bool,
}

/// `DELETE /api/messages/realtime/subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsubscribe {
    pub(super) channels: Vec<String>,
}

/// Where this server is, and the key that opens it to apps, as far as anybody knows.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) url: Option<String>,
    pub(super) key: Option<String>,
}

/// Where to connect, and what to join there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    pub(super) supabase_url: Option<String>,
    pub(super) supabase_key: Option<String>,
    pub(super) channels: Vec<String>,
    pub(super) features: Features,
    pub(super) filters: Filters,
}

/// What the subscriber wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Features {
    pub(super) messages: bool,
    pub(super) read_receipts: bool,
    pub(super) typing: bool,
    pub(super) presence: bool,
}

/// What bindings of `postgres_changes` filter by.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filters {
    pub(super) user_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) conversation_id: String,
}

/// That nothing is expected any more.
#[derive(Debug, Serialize)]
pub(super) struct Unsubscribed {
    pub(super) message: &'static str,
    pub(super) channels: Vec<String>,
}
