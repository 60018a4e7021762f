//! What has happened, in the school app's words; and the times that it sends.

use serde_json::Value;

use super::model::{Message, Refusal, Sender, ServerFrame, Status};
use crate::adapter::Error;
use crate::adapter::conversation::{self, Event};
use crate::postgres::messaging::Person;

/// A message as the app knows it.
pub(super) fn message(message: conversation::Message) -> Message {
    let sender_id = message.sender().map(Person::id);
    let attachments = match message.attachments {
        Value::Array(files) if !files.is_empty() => Some(Value::Array(files)),
        _ => None,
    };
    Message {
        id: message.id,
        thread_id: message.conversation_id,
        sender_id,
        content: message.content,
        message_type: message.message_type,
        created_at: utc(&message.created_at),
        sender: Sender { full_name: message.sender_name, role: message.sender_role },
        attachments,
        reply_to_id: message.reply_to_id,
        client_message_id: message.client_message_id,
        edited_at: message.edited_at.as_deref().map(utc),
        deleted_at: message.deleted_at.as_deref().map(utc),
    }
}

/// What `me` is told of an event; nothing of what the app does not know, and of one's own typing.
pub(super) fn frame(event: &Event, me: Person) -> Option<ServerFrame> {
    Some(match event {
        Event::Sent(sent) => ServerFrame::NewMessage { data: message(sent.clone()) },
        Event::Edited(edited) => ServerFrame::MessageUpdated { data: message(edited.clone()) },
        Event::Deleted(deleted) => ServerFrame::MessageDeleted { data: message(deleted.clone()) },
        Event::Reaction { message_id, conversation_id, person, emoji, is_added } => {
            let (message_id, thread_id) = (*message_id, *conversation_id);
            let (user_id, emoji) = (person.id(), emoji.clone());
            if *is_added {
                ServerFrame::ReactionAdded { message_id, thread_id, user_id, emoji }
            } else {
                ServerFrame::ReactionRemoved { message_id, thread_id, user_id, emoji }
            }
        }
        Event::Read { message_id, conversation_id, reader, read_at } => ServerFrame::MessageRead {
            message_id: *message_id,
            thread_id: *conversation_id,
            user_id: reader.id(),
            read_at: utc(read_at),
        },
        Event::Typing { person, .. } if *person == me => return None,
        Event::Typing { conversation_id, person, is_typing, .. } => ServerFrame::UserTyping {
            thread_id: *conversation_id,
            user_id: person.id(),
            is_typing: *is_typing,
        },
        Event::Presence { person, status, last_seen_at, .. } => ServerFrame::Presence {
            user_id: person.id(),
            status: status.clone(),
            last_seen_at: last_seen_at.as_deref().map(utc),
        },
        _ => return None,
    })
}

/// The transaction that brought a message, if that is told.
pub(super) fn inserted_in(message: &conversation::Message) -> Option<u64> {
    message.inserted_in.as_deref()?.parse().ok()
}

/// A time of Postgres's in UTC, as the app writes them: with `Z`.
fn utc(time: &str) -> String {
    time.strip_suffix("+00:00").map_or_else(|| time.to_owned(), |time| format!("{time}Z"))
}

/// A time as RFC 3339 has it, in the form that the answers of checks have as far as it can be; `None` if it is something
/// else.
///
/// A `+` that was not encoded in a query is a space here, so one before an offset is taken for it.
pub(super) fn rfc3339(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u32> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |sum, digit| Some(sum * 10 + char::from(*digit).to_digit(10)?))
    };
    let is = |at: usize, among: &[u8]| bytes.get(at).is_some_and(|byte| among.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    // A leap second counts, as it does in Postgres.
    if !separated
        || year == 0
        || !(1..=days(year, month)?).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut end = 19;
    if is(end, b".") {
        let digits = bytes[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // More than nanoseconds nobody has.
        if !(1..=9).contains(&digits) {
            return None;
        }
        end += 1 + digits;
    }
    let fraction = text.get(19..end)?.trim_end_matches('0');
    let offset = match text.get(end..)? {
        "Z" | "z" => "Z".to_owned(),
        offset if offset.len() == 6 && is(end, b"+- ") && is(end + 3, b":") => {
            if number(end + 1, end + 3)? > 15 || number(end + 4, end + 6)? > 59 {
                return None;
            }
            if offset.ends_with("00:00") { "Z".to_owned() } else { offset.replace(' ', "+") }
        }
        _ => return None,
    };
    // Postgres rounds beyond microseconds; what was cut off can make a time earlier only, which gives more.
    let digits = fraction.get(1..fraction.len().min(7)).unwrap_or_default();
    Some(format!("{}T{}.{digits:0<3}{offset}", text.get(..10)?, text.get(11..19)?))
}

/// How many days a month has.
fn days(year: u32, month: u32) -> Option<u32> {
    Some(match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    })
}

/// The body of a refusal.
pub(super) fn refusal(error: &Error) -> Value {
    let refusal =
        Refusal { status: Status::Error, message: error.to_string(), retry_after: error.retry_after() };
    serde_json::to_value(refusal).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ANN: Person = Person::User(Uuid::from_u128(0xa));
    const BOB: Person = Person::User(Uuid::from_u128(0xb));

    fn row(extra: &str) -> conversation::Message {
        let row = format!(
            r#"{{"id":"6f1d0c1e-0000-4000-8000-000000000001","conversation_id":"6f1d0c1e-0000-4000-8000-000000000002",
                "content":"Hello!","message_type":"text","created_at":"2024-01-01T12:00:00.123456+00:00",
                "sender_name":"John Doe","sender_role":"teacher"{extra}}}"#
        );
        serde_json::from_str(&row).unwrap()
    }

    #[test]
    fn a_message_has_what_the_app_knows_and_nothing_empty() {
        let sender =
            r#","sender_id":"6f1d0c1e-0000-4000-8000-000000000003","attachments":[],"edited_at":null"#;
        let text = serde_json::to_string(&message(row(sender))).unwrap();
        let expected = concat!(
            r#"{"id":"6f1d0c1e-0000-4000-8000-000000000001","thread_id":"6f1d0c1e-0000-4000-8000-000000000002","#,
            r#""sender_id":"6f1d0c1e-0000-4000-8000-000000000003","content":"Hello!","message_type":"text","#,
            r#""created_at":"2024-01-01T12:00:00.123456Z","sender":{"full_name":"John Doe","role":"teacher"}}"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_message_says_what_else_there_is() {
        let extra = r#","sender_customer_id":"6f1d0c1e-0000-4000-8000-000000000004","attachments":[{"url":"u"}],
            "client_message_id":"c","deleted_at":"2024-01-02T00:00:00+00:00""#;
        let message = message(row(extra));
        assert_eq!(message.sender_id, Some(Uuid::from_u128(0x6f1d_0c1e_0000_4000_8000_0000_0000_0004)));
        assert_eq!(message.attachments, Some(serde_json::json!([{ "url": "u" }])));
        assert_eq!(message.client_message_id.as_deref(), Some("c"));
        assert_eq!(message.deleted_at.as_deref(), Some("2024-01-02T00:00:00Z"));
    }

    #[test]
    fn one_hears_of_others_typing_alone() {
        let typing = Event::Typing {
            conversation_id: Uuid::from_u128(1),
            person: ANN,
            is_typing: true,
            expires_at: None,
        };
        assert_eq!(frame(&typing, ANN), None);
        let told = serde_json::to_string(&frame(&typing, BOB)).unwrap();
        let expected = concat!(
            r#"{"type":"user_typing","thread_id":"00000000-0000-0000-0000-000000000001","#,
            r#""user_id":"00000000-0000-0000-0000-00000000000a","is_typing":true}"#,
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn own_messages_of_other_devices_are_told() {
        let own = format!(r#","sender_id":"{}""#, ANN.id());
        let event = Event::Sent(row(&own));
        assert!(matches!(frame(&event, ANN), Some(ServerFrame::NewMessage { .. })));
        assert!(matches!(frame(&Event::Edited(row("")), ANN), Some(ServerFrame::MessageUpdated { .. })));
        assert!(matches!(frame(&Event::Deleted(row("")), ANN), Some(ServerFrame::MessageDeleted { .. })));
    }

    #[test]
    fn the_transaction_of_a_message_is_read_where_it_is_told() {
        assert_eq!(inserted_in(&row(r#","inserted_in":"4294967300""#)), Some(4_294_967_300));
        assert_eq!(inserted_in(&row("")), None);
        assert_eq!(inserted_in(&row(r#","inserted_in":"x""#)), None);
    }

    #[test]
    fn what_the_app_has_no_words_for_is_not_told() {
        let delivered = Event::Delivered {
            message_id: Uuid::from_u128(1),
            conversation_id: Uuid::from_u128(2),
            recipient_id: Uuid::from_u128(3),
            status: "delivered".to_owned(),
        };
        assert_eq!(frame(&delivered, ANN), None);
    }

    #[test]
    fn times_of_every_form_are_taken() {
        for (text, expected) in [
            ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z"),
            ("2024-01-01T12:30:00.123Z", "2024-01-01T12:30:00.123Z"),
            ("2024-01-01t12:30:00.1z", "2024-01-01T12:30:00.100Z"),
            ("2024-01-01T12:30:00.123000000Z", "2024-01-01T12:30:00.123Z"),
            ("2024-02-29 12:30:60.123456789+05:30", "2024-02-29T12:30:60.123456+05:30"),
            ("2024-01-01T12:30:00-11:00", "2024-01-01T12:30:00.000-11:00"),
            ("2024-01-01T12:30:00 00:00", "2024-01-01T12:30:00.000Z"),
            ("2024-01-01T12:30:00 02:00", "2024-01-01T12:30:00.000+02:00"),
        ] {
            assert_eq!(rfc3339(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "now",
            "infinity",
            "1704067200",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00Z",
            "2024-1-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.1234567890Z",
            "2024-01-01T00:00:00+0000",
            "2024-01-01T00:00:00+16:00",
            "2024-01-01T00:00:00+01:60",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00:00:00ZZ",
            "2024-01-01T00:00:00.123é",
            "２024-01-01T00:00:00Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
