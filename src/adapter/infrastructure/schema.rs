//! What requests and answers of the subscription API look like.

use serde_json::Value;

use crate::adapter::answer;
use crate::adapter::schema::{Schemas, all, flag, id, list, maybe, object, some_of, text, time, with};

/// All of them, by their names.
pub(super) fn schemas() -> Schemas {
    all([
        ("InfrastructureSubscribe", subscribe()),
        ("InfrastructureSubscription", stamped(answer::done_schema(subscription()))),
        ("InfrastructureUnsubscribe", some_of([], [("channels", list(text()))])),
        ("InfrastructureUnsubscribed", stamped(answer::done_schema(unsubscribed()))),
        ("InfrastructureRefusal", stamped(answer::refused_schema())),
    ])
}

fn stamped(answer: Value) -> Value {
    with(answer, [("version", text()), ("timestamp", time())])
}

fn subscribe() -> Value {
    let flags = [("includePresence", flag()), ("includeTyping", flag()), ("includeReadReceipts", flag())];
    some_of([("conversationId", id())], flags)
}

fn subscription() -> Value {
    let features =
        object([("messages", flag()), ("readReceipts", flag()), ("typing", flag()), ("presence", flag())]);
    let filters = object([("userId", maybe(id())), ("customerId", maybe(id())), ("conversationId", id())]);
    object([
        ("supabaseUrl", maybe(text())),
        ("supabaseKey", maybe(text())),
        ("channels", list(text())),
        ("features", features),
        ("filters", filters),
    ])
}

fn unsubscribed() -> Value {
    object([("message", text()), ("channels", list(text()))])
}
