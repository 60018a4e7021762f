//! What every app's requests begin with: who asks, what was sent, and the call that comes of it.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Error, Services};
use crate::auth::TokenError;
use crate::postgres::messaging::Person;
use crate::postgres::rpc::{Caller, Function};
use crate::protocol::is_shallow;
use crate::rest;
use crate::rest::error::JSON;
use crate::telemetry::clock::unix_seconds;

/// How deeply the JSON of requests and frames may be nested.
pub const JSON_DEPTH_MAX: usize = 32;

/// The schema of the functions that adapters call.
const SCHEMA: &str = "public";

/// As live events tell times, whatever the database's time zone is.
const TIME_ZONE: &str = "UTC";

/// Who asks.
#[derive(Clone)]
pub struct Asker {
    /// As functions are called.
    pub caller: Caller,
    /// Who that is in conversations.
    pub person: Person,
}

impl Services {
    /// Who sends a request, by the token in `Authorization: Bearer`.
    pub fn asker(&self, headers: &HeaderMap) -> Result<Asker, Error> {
        let token = bearer(headers)?.ok_or(Error::NoToken)?;
        self.asker_of(&token)
    }

    /// Whose token it is.
    pub fn asker_of(&self, token: &str) -> Result<Asker, Error> {
        let claims = self.verifier.verify(token, unix_seconds()).map_err(Error::Token)?;
        let person = Person::of(&claims).ok_or(Error::NotAPerson)?;
        let caller = Caller { time_zone: Some(TIME_ZONE), ..Caller::new(claims) };
        Ok(Asker { caller, person })
    }

    /// The fields of a body that must be a JSON object.
    pub async fn fields(&self, headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Error> {
        let whole = self.bodies.read(headers, body).await?;
        json_object(headers, &whole.bytes)
    }

    /// The same of a body that may be left out.
    pub async fn optional_fields(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Map<String, Value>, Error> {
        let whole = self.bodies.read(headers, body).await?;
        if whole.bytes.is_empty() {
            return Ok(Map::new());
        }
        json_object(headers, &whole.bytes)
    }

    /// Calls a function of the messaging schema as this caller, with named arguments; those that are `null` are left
    /// out. `null` is the answer of one that returns nothing.
    pub async fn call(&self, caller: &Caller, name: &str, arguments: Value) -> Result<Value, Error> {
        let mut named = match arguments {
            Value::Object(named) => named,
            _ => Map::new(),
        };
        named.retain(|_, value| !value.is_null());
        let function = Function { schema: SCHEMA, name };
        let returned = self.rpc.call(caller, function, &named).await?;
        if returned.json.is_empty() {
            return Ok(Value::Null);
        }
        // Postgres writes JSON that can be read.
        serde_json::from_str(&returned.json).map_err(|_| Error::Failed { sqlstate: "XX000".to_owned() })
    }
}

/// The fields of a body that says that it is JSON, or says nothing.
fn json_object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, Error> {
    if !headers.get(header::CONTENT_TYPE).is_none_or(rest::is_json) {
        return Err(Error::MediaType);
    }
    object(std::str::from_utf8(body).map_err(|_| Error::NotJson)?)
}

/// The token in `Authorization: Bearer`; `None` if there is no such header.
pub fn bearer(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| Error::Token(TokenError::Malformed))?;
    let token = rest::bearer(value).filter(|token| !token.is_empty()).ok_or(Error::NoToken)?;
    Ok(Some(token.to_owned()))
}

/// The fields of a JSON object, within bounds.
pub fn object(text: &str) -> Result<Map<String, Value>, Error> {
    // The reader has a bound of its own, far above this one.
    let value: Value = serde_json::from_str(text).map_err(|_| Error::NotJson)?;
    if !is_shallow(text, JSON_DEPTH_MAX) {
        return Err(Error::TooDeep);
    }
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::NotAnObject),
    }
}

/// What a function returned; if it is not what this version's returns, the schema is of another one.
pub fn returned<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|_| Error::NotSetUp)
}

/// An answer that is JSON.
pub fn json(status: StatusCode, body: &Value) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, JSON)], body.to_string()).into_response()
}

/// The parameters of a request's query; of repeated ones the last.
pub fn query(uri: &Uri) -> HashMap<String, String> {
    // Anything can be read as pairs of text; an error means there is nothing to read.
    Query::<HashMap<String, String>>::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// A whole number within bounds; the default where there is none.
pub fn number(
    query: &HashMap<String, String>,
    name: &'static str,
    bounds: std::ops::RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Error> {
    match query.get(name) {
        None => Ok(default),
        Some(text) => text.parse().ok().filter(|number| bounds.contains(number)).ok_or(Error::invalid(name)),
    }
}

/// An id that must be there.
pub fn id(fields: &Map<String, Value>, name: &'static str) -> Result<Uuid, Error> {
    optional_id(fields, name)?.ok_or(Error::missing(name))
}

/// An id that may be missing or `null`.
pub fn optional_id(fields: &Map<String, Value>, name: &'static str) -> Result<Option<Uuid>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Uuid::try_parse(text).map(Some).map_err(|_| Error::invalid(name)),
        Some(_) => Err(Error::invalid(name)),
    }
}

/// A text that must be there.
pub fn text<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Error> {
    optional_text(fields, name)?.ok_or(Error::missing(name))
}

/// A text that may be missing or `null`. Postgres has no text with the character NUL.
pub fn optional_text<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
        Some(_) => Err(Error::invalid(name)),
    }
}

/// An id in a path.
pub fn path_id(text: &str, name: &'static str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::invalid(name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        let bearer_of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers)
        };
        assert_eq!(bearer(&HeaderMap::new()), Ok(None));
        assert_eq!(bearer_of("Bearer a"), Ok(Some("a".to_owned())));
        assert_eq!(bearer_of("bEARER  a "), Ok(Some("a".to_owned())));
        for refused in ["", "Bearer", "Bearer  ", "Basic eDp5", "a"] {
            assert_eq!(bearer_of(refused), Err(Error::NoToken), "{refused:?}");
        }
    }

    #[test]
    fn an_object_is_read_within_bounds() {
        let nested = |depth: usize| format!("{}{}{}", "{\"a\":".repeat(depth), "1", "}".repeat(depth));
        assert!(object(&nested(JSON_DEPTH_MAX)).is_ok());
        assert_eq!(object(&nested(JSON_DEPTH_MAX + 1)), Err(Error::TooDeep));
        assert_eq!(object(&nested(1000)), Err(Error::NotJson), "beyond what the reader takes");
        assert_eq!(object("[]"), Err(Error::NotAnObject));
        assert_eq!(object("7"), Err(Error::NotAnObject));
        for text in ["", "{", "{\"a\":}", "\u{1}"] {
            assert_eq!(object(text), Err(Error::NotJson), "{text:?}");
        }
    }

    #[test]
    fn fields_are_checked_before_anything_is_called() {
        let fields = json!({ "id": "b0000000-0000-4000-8000-000000000001", "n": null, "t": "x", "z": "\0" });
        let fields = fields.as_object().unwrap();
        assert!(id(fields, "id").is_ok());
        assert_eq!(id(fields, "n"), Err(Error::missing("n")));
        assert_eq!(optional_id(fields, "n"), Ok(None));
        assert_eq!(id(fields, "t"), Err(Error::invalid("t")));
        assert_eq!(text(fields, "t"), Ok("x"));
        assert_eq!(text(fields, "z"), Err(Error::invalid("z")));
        assert_eq!(text(fields, "none"), Err(Error::missing("none")));
    }

    #[test]
    fn numbers_of_a_query_are_bounded() {
        let read = |uri: &str| number(&query(&uri.parse().unwrap()), "limit", 1..=100, 50);
        assert_eq!(read("/x"), Ok(50));
        assert_eq!(read("/x?limit=7"), Ok(7));
        for refused in ["/x?limit=0", "/x?limit=101", "/x?limit=", "/x?limit=-1", "/x?limit=1e1"] {
            assert_eq!(read(refused), Err(Error::invalid("limit")), "{refused}");
        }
    }
}
