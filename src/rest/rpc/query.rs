//! The query of a call: which part of the result is wanted, and, where there is no body, the arguments.
//!
//! As PostgREST tells them apart: `select`, `order`, `limit` and `offset` are about the result, and so is everything
//! that begins with an operator (`eq.5`), which is a filter; what is left are arguments. Filters, embedded resources
//! and whatever else goes beyond plain columns is not done here.

use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use crate::postgres::rpc::{Arguments, Form, Order, Page};

/// Operators of filters, without their dots.
const OPERATORS: &[&str] = &[
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "like",
    "ilike",
    "match",
    "imatch",
    "in",
    "is",
    "isdistinct",
    "fts",
    "plfts",
    "phfts",
    "wfts",
    "cs",
    "cd",
    "ov",
    "sl",
    "sr",
    "nxr",
    "nxl",
    "adj",
    "not",
];

/// Names that are never arguments.
const RESERVED: &[&str] = &["and", "or", "not.and", "not.or", "columns", "on_conflict"];

/// What a query says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) page: Page,
    /// What is left, in its order: arguments, if it is a call without a body.
    pub(super) rest: Vec<(String, String)>,
}

impl Asked {
    /// Reads a query.
    pub(super) fn read(uri: &Uri) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Refusal::Query(uri.query().unwrap_or_default().chars().take(80).collect()))?;
        let mut asked = Self::default();
        for (name, value) in pairs {
            let unknown = || Refusal::Query(name.clone());
            let page = &mut asked.page;
            match name.as_str() {
                "select" => page.columns = columns(&value).ok_or_else(unknown)?,
                "order" => page.order = order(&value).ok_or_else(unknown)?,
                "limit" => page.limit = Some(count(&value).ok_or_else(unknown)?),
                "offset" => page.offset = count(&value).ok_or_else(unknown)?,
                reserved if RESERVED.contains(&reserved) => return Err(unknown()),
                _ if is_filter(&value) => return Err(unknown()),
                _ => asked.rest.push((name, value)),
            }
        }
        Ok(asked)
    }

    /// The arguments of a call without a body.
    pub(super) fn arguments(&self) -> Arguments {
        let mut values = Map::new();
        for (name, value) in &self.rest {
            let all = values.entry(name.clone()).or_insert_with(|| json!([]));
            if let Value::Array(all) = all {
                all.push(json!(value));
            }
        }
        let names = values.keys().cloned().collect();
        Arguments { names, json: Value::Object(values).to_string(), form: Form::Texts }
    }
}

/// `eq.5`, `not.in.(1,2)`, `fts(english).x`, `like(any).{a*}`.
fn is_filter(value: &str) -> bool {
    let Some((operator, _)) = value.split_once('.') else { return false };
    let operator = operator.split_once('(').map_or(operator, |(operator, _)| operator);
    OPERATORS.contains(&operator)
}

/// `*`, or `a,b,alias:c`. `None` for anything more.
fn columns(text: &str) -> Option<Vec<(String, Option<String>)>> {
    if text.is_empty() || text == "*" {
        return Some(Vec::new());
    }
    let column = |item: &str| match item.split_once(':') {
        Some((alias, column)) => Some((name(column)?, Some(name(alias)?))),
        None => Some((name(item)?, None)),
    };
    text.split(',').map(|item| column(item.trim())).collect()
}

/// `a`, `a.desc`, `a.asc.nullsfirst`, with commas between them.
fn order(text: &str) -> Option<Vec<Order>> {
    let term = |item: &str| {
        let mut parts = item.trim().split('.');
        let column = name(parts.next()?)?;
        let mut order = Order { column, is_descending: false, nulls_first: None };
        let mut parts = parts.peekable();
        match parts.peek() {
            Some(&"asc") => _ = parts.next(),
            Some(&"desc") => {
                order.is_descending = true;
                parts.next();
            }
            _ => {}
        }
        match (parts.next(), parts.next()) {
            (None, _) => {}
            (Some("nullsfirst"), None) => order.nulls_first = Some(true),
            (Some("nullslast"), None) => order.nulls_first = Some(false),
            _ => return None,
        }
        Some(order)
    };
    text.split(',').map(term).collect()
}

/// A plain name, or one in quotes.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return (!quoted.is_empty() && !quoted.contains(['"', '\\', '\0'])).then(|| quoted.to_owned());
    }
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    (!text.is_empty() && text.chars().all(is_plain)).then(|| text.to_owned())
}

fn count(text: &str) -> Option<i64> {
    text.parse().ok().filter(|count| *count >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Asked, Refusal> {
        Asked::read(&format!("/rest/v1/rpc/f?{query}").parse().unwrap())
    }

    #[test]
    fn what_is_about_the_result_is_no_argument() {
        let asked =
            read("select=id,label:name&order=id.desc.nullslast,name&limit=5&offset=2&a=1&b=x.y").unwrap();
        let page = Page {
            columns: vec![("id".to_owned(), None), ("name".to_owned(), Some("label".to_owned()))],
            order: vec![
                Order { column: "id".to_owned(), is_descending: true, nulls_first: Some(false) },
                Order { column: "name".to_owned(), is_descending: false, nulls_first: None },
            ],
            limit: Some(5),
            offset: 2,
            ..Page::default()
        };
        assert_eq!(asked.page, page);
        let arguments = asked.arguments();
        assert_eq!((arguments.names.len(), arguments.json.as_str()), (2, r#"{"a":["1"],"b":["x.y"]}"#));
        assert_eq!(read("v=1&v=2").unwrap().arguments().json, r#"{"v":["1","2"]}"#);
        assert_eq!(read("select=*").unwrap(), Asked::default());
    }

    #[test]
    fn what_is_not_done_is_named() {
        for (query, name) in [
            ("id=eq.5", "id"),
            ("id=not.in.(1,2)", "id"),
            ("text=fts(english).x", "text"),
            ("or=(a.eq.1)", "or"),
            ("select=id,author(name)", "select"),
            ("select=id::text", "select"),
            ("select=data-%3Ea", "select"),
            ("select=a,,b", "select"),
            ("select=count()", "select"),
            ("order=a.up", "order"),
            ("order=a.desc.nullsfirst.x", "order"),
            ("order=", "order"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("offset=9223372036854775808", "offset"),
            ("columns=a", "columns"),
        ] {
            assert_eq!(read(query), Err(Refusal::Query(name.to_owned())), "{query}");
        }
    }
}
