//! What a function returned → the answer, as PostgREST writes it.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::wish::OBJECT;
use crate::postgres::rpc::{Page, Returned, Shape};
use crate::rest::error::JSON;
use crate::rest::forward::is_of_connection;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer of a call that was asked for so.
pub(super) fn reply(
    returned: Returned,
    page: &Page,
    counted: Option<&'static str>,
) -> Result<Response<Body>, Refusal> {
    let Returned { json, shape, rows, total, status, headers } = returned;
    let total = total.filter(|_| shape == Shape::Set);
    let is_beyond =
        |total: u64| page.offset > 0 && u64::try_from(page.offset).is_ok_and(|offset| offset > total);
    if let Some(total) = total.filter(|total| is_beyond(*total)) {
        return Err(Refusal::Range { offset: page.offset, total });
    }
    let usual = match (shape, total) {
        (Shape::Void, _) => StatusCode::NO_CONTENT,
        (_, Some(total)) if rows < total => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    };
    let status = match status {
        None => usual,
        Some(said) => said
            .parse()
            .ok()
            .filter(|said| (200..=599).contains(said))
            .and_then(|said| StatusCode::from_u16(said).ok())
            .ok_or(Refusal::Status)?,
    };
    let mut response = match shape {
        Shape::Void => status.into_response(),
        _ => (status, json).into_response(),
    };
    let fields = response.headers_mut();
    if shape == Shape::Void {
        fields.remove(header::CONTENT_TYPE);
    } else {
        let media = if page.is_single { format!("{OBJECT}; charset=utf-8") } else { JSON.to_owned() };
        fields.insert(header::CONTENT_TYPE, value(media)?);
    }
    fields.insert(header::CONTENT_RANGE, value(range(page.offset, rows, shape, total))?);
    if let Some(counted) = counted {
        fields.insert(PREFERENCE_APPLIED, HeaderValue::from_static(counted));
    }
    for (name, said) in said_headers(headers.as_deref())? {
        fields.insert(name, said);
    }
    Ok(response)
}

fn value(text: String) -> Result<HeaderValue, Refusal> {
    HeaderValue::try_from(text).map_err(|_| Refusal::Headers)
}

/// `0-9/25`: the first and the last row and how many there are; `*` for none, and for what is not known.
fn range(offset: i64, rows: u64, shape: Shape, total: Option<u64>) -> String {
    let rows = if shape == Shape::Set { rows } else { 1 };
    let offset = if shape == Shape::Set { u64::try_from(offset).unwrap_or(0) } else { 0 };
    let part = match rows {
        0 => "*".to_owned(),
        rows => format!("{offset}-{}", offset.saturating_add(rows - 1)),
    };
    let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
    format!("{part}/{total}")
}

/// `[{"x-name": "value"}]`, without what is the server's to say.
fn said_headers(text: Option<&str>) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let all: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(|_| Refusal::Headers)?;
    let header = |(name, value): (String, Value)| {
        let value = value.as_str().ok_or(Refusal::Headers)?.to_owned();
        let name = HeaderName::try_from(name).map_err(|_| Refusal::Headers)?;
        Ok((name, HeaderValue::try_from(value).map_err(|_| Refusal::Headers)?))
    };
    let is_free =
        |said: &Result<(HeaderName, _), _>| !said.as_ref().is_ok_and(|(name, _)| is_of_connection(name));
    all.into_iter().flatten().map(header).filter(is_free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(shape: Shape, rows: u64, total: Option<u64>) -> Returned {
        Returned { json: "[]".to_owned(), shape, rows, total, status: None, headers: None }
    }

    #[test]
    fn ranges_and_statuses_tell_how_much_there_is() {
        for (shape, rows, total, offset, status, expected) in [
            (Shape::Set, 3, None, 0, 200, "0-2/*"),
            (Shape::Set, 0, None, 0, 200, "*/*"),
            (Shape::Set, 3, Some(3), 0, 200, "0-2/3"),
            (Shape::Set, 2, Some(5), 2, 206, "2-3/5"),
            (Shape::Set, 0, Some(0), 0, 200, "*/0"),
            (Shape::Set, 0, Some(5), 5, 206, "*/5"),
            (Shape::Set, 0, Some(5), 6, 416, ""),
            (Shape::Single, 1, None, 0, 200, "0-0/*"),
            (Shape::Void, 1, None, 0, 204, "0-0/*"),
        ] {
            let page = Page { offset, ..Page::default() };
            let found = reply(returned(shape, rows, total), &page, None);
            let response = match found {
                Ok(response) => response,
                Err(refusal) => refusal.into_response(),
            };
            let range = response.headers().get(header::CONTENT_RANGE);
            let range = range.map_or("", |range| range.to_str().unwrap());
            assert_eq!(
                (response.status().as_u16(), range),
                (status, expected),
                "{shape:?} {rows} {total:?} {offset}"
            );
        }
    }

    #[test]
    fn a_function_may_say_status_and_headers() {
        let said = |status: Option<&str>, headers: Option<&str>| {
            let text = |said: Option<&str>| said.map(str::to_owned);
            let returned =
                Returned { status: text(status), headers: text(headers), ..returned(Shape::Single, 1, None) };
            reply(returned, &Page::default(), None)
        };
        let response = said(Some("418"), Some(r#"[{"X-A": "b"}, {"Cache-Control": "no-store"}]"#)).unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["x-a"].to_str().unwrap()), (418, "b"));
        let framing = r#"[{"Content-Length": "1"}, {"transfer-encoding": "chunked"}, {"connection": "x"}]"#;
        let response = said(None, Some(framing)).unwrap();
        for name in ["content-length", "transfer-encoding", "connection"] {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        for status in ["", "teapot", "99", "1000"] {
            assert_eq!(said(Some(status), None).unwrap_err(), Refusal::Status, "{status}");
        }
        for headers in ["{}", "[1]", r#"[{"a": 1}]"#, r#"[{"a b": "c"}]"#, r#"[{"a": "b\n"}]"#] {
            assert_eq!(said(None, Some(headers)).unwrap_err(), Refusal::Headers, "{headers}");
        }
    }
}
