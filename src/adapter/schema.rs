//! How apps say what their requests and answers look like: the words of OpenAPI's schemas.

use serde_json::{Map, Value, json};

use super::fields::MESSAGE_TYPES;

/// Schemas by their names.
pub(super) type Schemas = Map<String, Value>;

/// A field and what it holds.
pub(super) type Field<'a> = (&'a str, Value);

/// These, by their names.
pub(super) fn all<const N: usize>(named: [Field<'_>; N]) -> Schemas {
    named.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn id() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn number() -> Value {
    json!({ "type": "integer" })
}

pub(super) fn flag() -> Value {
    json!({ "type": "boolean" })
}

/// Any JSON.
pub(super) fn anything() -> Value {
    json!({})
}

/// One of these words.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// What a message holds.
pub(super) fn message_type() -> Value {
    one_of(&MESSAGE_TYPES)
}

/// An attachment of a message, with the app's name of its MIME type.
pub(super) fn attachment(mime_type: &str) -> Value {
    object([("url", text()), ("name", maybe(text())), ("size", maybe(number())), (mime_type, maybe(text()))])
}

/// An attachment of a message that is to be sent.
pub(super) fn new_attachment() -> Value {
    some_of([("url", text())], [("name", text()), ("size", number()), ("mimeType", text())])
}

/// That, or `null`.
pub(super) fn maybe(mut schema: Value) -> Value {
    schema["nullable"] = json!(true);
    schema
}

/// An array of such.
pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object with all of these.
pub(super) fn object<const N: usize>(fields: [Field<'_>; N]) -> Value {
    some_of(fields, [])
}

/// An object with these, and perhaps those.
pub(super) fn some_of<const N: usize, const M: usize>(
    required: [Field<'_>; N],
    others: [Field<'_>; M],
) -> Value {
    let mut schema = json!({ "type": "object" });
    if N > 0 {
        schema["required"] = required.iter().map(|(name, _)| *name).collect();
    }
    schema["properties"] =
        required.into_iter().chain(others).map(|(name, schema)| (name.to_owned(), schema)).collect();
    schema
}

/// An object with these fields besides.
pub(super) fn with<const N: usize>(mut schema: Value, fields: [Field<'_>; N]) -> Value {
    for (name, field) in fields {
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(json!(name));
        }
        schema["properties"][name] = field;
    }
    schema
}
