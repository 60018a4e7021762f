//! The functions behind checks and sockets, and what they are called with.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::model::{Checked, Page, Resumed};
use crate::adapter::{Error, Services};
use crate::postgres::rpc::{Caller, Function};

/// The schema of these functions, which clients do not call themselves.
const SCHEMA: &str = "rowcast";

/// A token as the database knows it: its SHA-256, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHash(Arc<str>);

impl TokenHash {
    /// That of a token.
    pub(super) fn of(token: &str) -> Self {
        let digits = |byte: &u8| {
            let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
            [digit(byte >> 4), digit(byte & 15)]
        };
        Self(digest(&SHA256, token.as_bytes()).as_ref().iter().flat_map(digits).collect::<String>().into())
    }
}

/// What was missed since a check, as a check of its own.
pub(super) async fn check(
    services: &Services,
    caller: &Caller,
    token: &TokenHash,
    since: &str,
) -> Result<Checked, Error> {
    let checked =
        ask(services, caller, "catch_up", json!({ "token_hash": &*token.0, "since": since })).await?;
    checked.ok_or_else(unreadable)
}

/// What a socket has to bring first; `None` if it continues no check.
pub(super) async fn resume(
    services: &Services,
    caller: &Caller,
    token: &TokenHash,
    since: Option<&str>,
) -> Result<Option<Resumed>, Error> {
    ask(services, caller, "resume_catch_up", json!({ "token_hash": &*token.0, "since": since })).await
}

/// The first of these messages.
pub(super) async fn page(services: &Services, caller: &Caller, ids: &[Uuid]) -> Result<Page, Error> {
    ask(services, caller, "message_page", json!({ "message_ids": ids })).await?.ok_or_else(unreadable)
}

/// Notes what a socket has brought since a check.
pub(super) async fn note(
    services: &Services,
    caller: &Caller,
    since: &str,
    ids: &[Uuid],
) -> Result<(), Error> {
    let arguments = json!({ "since": since, "message_ids": ids });
    // That there is no such check any more is no error: nobody will ask by it.
    ask::<bool>(services, caller, "note_catch_up", arguments).await.map(|_| ())
}

/// Calls a function; `None` is what it returns for nothing.
async fn ask<T: DeserializeOwned>(
    services: &Services,
    caller: &Caller,
    name: &str,
    arguments: Value,
) -> Result<Option<T>, Error> {
    let mut named = match arguments {
        Value::Object(named) => named,
        _ => Map::new(),
    };
    named.retain(|_, value| !value.is_null());
    let returned = services.rpc.call(caller, Function { schema: SCHEMA, name }, &named).await?;
    serde_json::from_str(&returned.json).map_err(|_| unreadable())
}

/// The functions are others than this program's.
fn unreadable() -> Error {
    Error::NotSetUp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_knows_a_token_by_its_hash() {
        let hash = TokenHash::of("abc");
        assert_eq!(&*hash.0, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(hash, TokenHash::of("abd"));
    }
}
