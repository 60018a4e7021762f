//! What the school app's answers look like; its requests have no bodies.

use serde_json::Value;

use crate::adapter::schema::{
    Schemas, all, attachment, flag, id, list, maybe, message_type, number, object, one_of, some_of, text,
    time, with,
};

/// All of them, by their names.
pub(super) fn schemas() -> Schemas {
    let status = || ("status", one_of(&["success"]));
    let done = || object([status(), ("message", text()), ("user_id", id())]);
    // What was asked for stands in `data` and beside it.
    let unread = || ("unread_count", number());
    all([
        ("SchoolDone", done()),
        ("SchoolRead", with(done(), [("thread_id", id())])),
        ("SchoolMissed", with(missed(), [status(), ("data", missed())])),
        ("SchoolUnread", object([status(), ("data", object([unread()])), unread()])),
        (
            "SchoolRefusal",
            some_of([("status", one_of(&["error"])), ("message", text())], [("retry_after", number())]),
        ),
    ])
}

fn missed() -> Value {
    some_of(
        [("messages", list(message())), ("count", number()), ("last_check_time", time())],
        [("has_more", flag())],
    )
}

fn message() -> Value {
    let sender = object([("full_name", maybe(text())), ("role", maybe(text()))]);
    some_of(
        [
            ("id", id()),
            ("thread_id", id()),
            ("sender_id", maybe(id())),
            ("content", text()),
            ("message_type", message_type()),
            ("created_at", time()),
            ("sender", sender),
        ],
        [
            ("attachments", list(attachment("mime_type"))),
            ("reply_to_id", id()),
            ("client_message_id", text()),
            ("edited_at", time()),
            ("deleted_at", time()),
        ],
    )
}
