//! A table of an app's routes: a row for each, with a good request and its whole answer, and a column for each way in
//! which it is refused.

use std::collections::BTreeSet;

use rowcast::adapter;
use rowcast::rest::openapi;
use serde_json::{Value, json};

use crate::requests::{App, CHAT, NOTHING, OLA, SUPPORT, on_each_major, signed};
use crate::whole::Answer;

/// A path with its query, and a body; `null` is none.
pub(crate) type Ask = (String, Value);

/// What requests are about.
pub(crate) struct About {
    /// Ola's and Kari's conversation.
    pub(crate) chat: &'static str,
    /// The customer's and the staff's.
    pub(crate) support: &'static str,
    /// A message of Ola's.
    pub(crate) message: String,
}

/// How a route refuses what a column is about.
pub(crate) enum Cell {
    /// With this status, what would be good but for that.
    Is(u16),
    /// With this status this request, in words that begin so.
    To(u16, fn(&About) -> Ask, &'static str),
    /// With 429, what is done more often than this setting allows.
    Beyond(&'static str),
    /// Never, for this reason.
    Never(&'static str),
}

/// A route. Whatever the row, it refuses who has no token (401) or a wrong one (401), whoever the token says to be nobody
/// (403), and other methods of its path (405).
pub(crate) struct Row {
    /// Its method and its path, as the app's own table has them.
    pub(crate) route: (&'static str, &'static str),
    /// The token of who asks.
    pub(crate) who: fn() -> String,
    /// A good request.
    pub(crate) ask: fn(&About) -> Ask,
    /// Its answer, with names in place of times and of ids that are made up.
    pub(crate) answer: (u16, Value),
    /// Somebody else asks about it.
    pub(crate) stranger: Cell,
    /// There is no such thing.
    pub(crate) unknown: Cell,
    /// Somebody asks who sees it, and whose it is not.
    pub(crate) not_own: Cell,
    /// A field is missing, or of the wrong type.
    pub(crate) wrong_field: Cell,
    /// The body is no JSON object.
    pub(crate) not_json: Cell,
    /// The body says that it is no JSON.
    pub(crate) wrong_media: Cell,
    /// The body has too many bytes.
    pub(crate) too_large: Cell,
    /// A text in it has.
    pub(crate) too_long: Cell,
    /// It is done too often.
    pub(crate) too_often: Cell,
}

/// All rows of an app.
pub(crate) struct Table {
    pub(crate) app: &'static str,
    pub(crate) rows: Vec<Row>,
    /// The token of somebody else.
    pub(crate) stranger: fn() -> String,
    /// The token of who takes part, too.
    pub(crate) other: fn() -> String,
    /// What is done before anything is asked.
    pub(crate) before: &'static str,
    /// The words of a refusal, and its whole body with these words.
    pub(crate) words: &'static str,
    pub(crate) refusal: fn(u16, &str, Option<u64>) -> Value,
}

impl Table {
    /// Every route of the app has a row, and there is no other.
    pub(crate) fn is_complete(&self) {
        let app = adapter::App::named(self.app).unwrap();
        let routes: BTreeSet<_> = app.routes().iter().map(|route| (route.method, route.path)).collect();
        assert_eq!(self.rows.iter().map(|row| row.route).collect::<BTreeSet<_>>(), routes);
    }

    /// The document has each route, with all that it answers, and bodies look as it says.
    pub(crate) fn is_documented(&self) {
        let app = adapter::App::named(self.app).unwrap();
        let document = openapi::document(&adapter::described(&[app]));
        for row in &self.rows {
            let operation = &document["paths"][row.route.1][row.route.0.to_ascii_lowercase()];
            let schema = |body: &Value| body["content"]["application/json"]["schema"].clone();
            let about = About { chat: CHAT, support: SUPPORT, message: OLA.to_owned() };
            let (_, body) = (row.ask)(&about);
            if body.is_null() {
                assert_eq!(operation.get("requestBody"), None, "{:?}", row.route);
            } else {
                fits(&document, &schema(&operation["requestBody"]), &body, &format!("{:?}", row.route));
            }
            let responses = operation["responses"].as_object().unwrap();
            let of = |status: u16| schema(&responses[&status.to_string()]);
            fits(&document, &of(row.answer.0), &row.answer.1, &format!("{:?}, answer", row.route));
            for (status, wait) in [(401, None), (401, Some(7))] {
                let refusal = (self.refusal)(status, "words", wait);
                fits(&document, &of(status), &refusal, &format!("{:?}, refusal", row.route));
            }
            let documented: BTreeSet<u16> = responses.keys().map(|status| status.parse().unwrap()).collect();
            // What a socket is granted with, and what the database is to blame for.
            let others = BTreeSet::from([101, 500, 503, 504]);
            let same = self.rows.iter().filter(|other| other.route == row.route);
            let statuses: BTreeSet<u16> = same.flat_map(Row::statuses).collect();
            assert_eq!(&documented - &others, statuses, "{:?}", row.route);
        }
    }

    /// Each good request gets its answer.
    pub(crate) async fn is_answered(&self) {
        on_each_major(async |app| {
            app.stage.database.execute(self.before).await;
            for row in &self.rows {
                // Whatever the rows before have left.
                app.stage.database.execute("delete from public.messages").await;
                let about = about(&app).await;
                let answer = row.send(&app, Some(&(row.who)()), &(row.ask)(&about)).await;
                let body = named(answer.body, &about);
                assert_eq!((answer.status, body), row.answer.clone(), "{:?}", row.route);
            }
        })
        .await;
    }

    /// Each cell is as it says.
    pub(crate) async fn is_refused(&self) {
        on_each_major(async |app| {
            app.stage.database.execute(self.before).await;
            let about = about(&app).await;
            let before = everything(&app).await;
            for row in &self.rows {
                self.refuse_who(row, &app, &about).await;
                self.refuse_what(row, &app, &about).await;
            }
            assert_eq!(everything(&app).await, before, "a refusal changes nothing");
            for row in &self.rows {
                if let Cell::Beyond(setting) = row.too_often {
                    self.refuse_haste(row, &app, setting).await;
                }
            }
        })
        .await;
    }

    async fn refuse_who(&self, row: &Row, app: &App, about: &About) {
        let ask = (row.ask)(about);
        let nobody = signed(json!({ "sub": "not an id" }));
        self.check(row, "no token", 401, &row.send(app, None, &ask).await);
        self.check(row, "wrong token", 401, &row.send(app, Some("no.good.token"), &ask).await);
        self.check(row, "nobody's token", 403, &row.send(app, Some(&nobody), &ask).await);
        let patched = app.ask("PATCH", &ask.0, Some(&(row.who)()), &ask.1).await;
        self.check(row, "another method", 405, &patched.0);
        let methods = self.rows.iter().filter(|other| other.route.1 == row.route.1).map(|row| row.route.0);
        let methods =
            methods.flat_map(|method| if method == "GET" { vec!["get", "head"] } else { vec![method] });
        let allowed: BTreeSet<_> =
            patched.0.header("allow").unwrap_or_default().split(',').map(str::to_owned).collect();
        assert_eq!(allowed, methods.map(str::to_ascii_lowercase).collect(), "{:?}", row.route);
        let nothing = About { chat: NOTHING, support: NOTHING, message: NOTHING.to_owned() };
        for (column, cell, token, about) in [
            ("stranger", &row.stranger, self.stranger, about),
            ("unknown", &row.unknown, row.who, &nothing),
            ("not one's own", &row.not_own, self.other, about),
        ] {
            self.refuse(row, app, (column, cell), &token(), about).await;
        }
    }

    async fn refuse(&self, row: &Row, app: &App, (column, cell): (&str, &Cell), token: &str, about: &About) {
        match cell {
            Cell::Is(status) => {
                self.check(row, column, *status, &row.send(app, Some(token), &(row.ask)(about)).await);
            }
            Cell::To(status, ask, begin) => {
                let answer = row.send(app, Some(token), &ask(about)).await;
                self.check(row, column, *status, &answer);
                let words = answer.body.pointer(self.words).and_then(Value::as_str).unwrap();
                assert!(words.starts_with(begin), "{:?}, {column}: {words}", row.route);
            }
            Cell::Never(reason) => assert!(!reason.is_empty(), "{:?}, {column}", row.route),
            Cell::Beyond(_) => panic!("{:?}, {column} has no rate", row.route),
        }
    }

    async fn refuse_what(&self, row: &Row, app: &App, about: &About) {
        let token = (row.who)();
        for (column, cell) in [("wrong field", &row.wrong_field), ("too long", &row.too_long)] {
            self.refuse(row, app, (column, cell), &token, about).await;
        }
        let target = (row.ask)(about).0;
        let large = vec![b' '; 600_000];
        for (column, cell, media, bodies) in [
            ("not JSON", &row.not_json, "application/json", vec![&b"{"[..], b"[]", b"\xff"]),
            ("wrong media", &row.wrong_media, "text/plain", vec![&b"{}"[..]]),
            ("too large", &row.too_large, "application/json", vec![&*large]),
        ] {
            match cell {
                Cell::Is(status) => {
                    for body in bodies {
                        let answer = app.send(row.route.0, &target, &token, media, body).await;
                        self.check(row, column, *status, &answer.0);
                    }
                }
                Cell::Never(reason) => assert!(!reason.is_empty(), "{:?}, {column}", row.route),
                _ => panic!("{:?}, {column} is about any body", row.route),
            }
        }
    }

    /// The second time at the latest, it is too often.
    async fn refuse_haste(&self, row: &Row, app: &App, setting: &str) {
        app.stage.database.execute("update rowcast.messaging_settings set value = 0").await;
        let (first, second) = (about(app).await, about(app).await);
        app.limit(setting, 1).await;
        row.send(app, Some(&(row.who)()), &(row.ask)(&first)).await;
        app.stage.end_typing().await;
        self.check(row, "too often", 429, &row.send(app, Some(&(row.who)()), &(row.ask)(&second)).await);
    }

    /// Refused with this status, and with nothing but what a refusal has.
    fn check(&self, row: &Row, column: &str, status: u16, answer: &Answer) {
        let words = answer.body.pointer(self.words).and_then(Value::as_str).unwrap_or_default();
        assert!(answer.status == status && !words.is_empty(), "{:?}, {column}: {answer:?}", row.route);
        let wait = answer.header("retry-after").map(|seconds| seconds.parse().unwrap());
        assert_eq!(wait.is_some_and(|wait| (1..=60).contains(&wait)), status == 429, "{answer:?}");
        let expected = (self.refusal)(status, words, wait);
        assert_eq!(named_times(answer.body.clone()), expected, "{:?}, {column}", row.route);
    }
}

impl Row {
    /// All that it is answered with, but for what every path says to other methods.
    fn statuses(&self) -> Vec<u16> {
        let status = |cell: &Cell| match cell {
            Cell::Is(status) | Cell::To(status, ..) => Some(*status),
            Cell::Beyond(_) => Some(429),
            Cell::Never(_) => None,
        };
        let cells = [&self.stranger, &self.unknown, &self.not_own, &self.wrong_field, &self.not_json];
        let more = [&self.wrong_media, &self.too_large, &self.too_long, &self.too_often];
        [self.answer.0, 401, 403]
            .into_iter()
            .chain(cells.into_iter().chain(more).filter_map(status))
            .collect()
    }

    async fn send(&self, app: &App, token: Option<&str>, (target, body): &Ask) -> Answer {
        app.ask(self.route.0, target, token, body).await.0
    }
}

/// A body is as a schema of the document says, and has nothing that it does not say.
pub(crate) fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(document, document.pointer(name.trim_start_matches('#')).unwrap(), value, at);
    }
    let kind = schema["type"].as_str();
    match (kind, value) {
        (None, _) => assert!(schema.is_object(), "{at} has no schema"),
        (_, Value::Null) => assert_eq!(schema["nullable"], true, "{at}"),
        (Some("object"), Value::Object(fields)) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at} lacks {name}");
            }
            for (name, field) in fields {
                fits(document, &schema["properties"][name], field, &format!("{at}, {name}"));
            }
        }
        (Some("array"), Value::Array(values)) => {
            values.iter().for_each(|value| fits(document, &schema["items"], value, at));
        }
        (Some("string"), Value::String(_)) => {
            let words = schema["enum"].as_array();
            assert!(words.is_none_or(|words| words.contains(value)), "{at} is {value}");
        }
        (Some("integer"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) => {}
        _ => panic!("{at} is {value}, and not {schema}"),
    }
}

/// A message that was just sent, and where.
pub(crate) async fn about(app: &App) -> About {
    let sent = app.stage.call(OLA, &format!("public.send_message('{CHAT}', 'Hei')")).await;
    About { chat: CHAT, support: SUPPORT, message: sent["id"].as_str().unwrap().to_owned() }
}

/// All that requests may change.
pub(crate) async fn everything(app: &App) -> String {
    let tables =
        ["messages", "message_typing_indicators", "message_read_receipts", "notification_preferences"];
    let rows =
        tables.map(|table| format!("(select coalesce(string_agg(t::text, '|'), '') from public.{table} t)"));
    app.value(&format!("select {}", rows.join(" || "))).await
}

/// With names in place of what is another each time.
pub(crate) fn named(value: Value, about: &About) -> Value {
    replaced(named_times(value), &|text| {
        let is_id = uuid::Uuid::try_parse(text).is_ok() && !text.contains("-0000-4000-8000-00000000000");
        match text {
            text if text == about.message => Some("<message>"),
            _ => is_id.then_some("<id>"),
        }
    })
}

/// With names in place of times: as Postgres writes them, or with a `Z`.
pub(crate) fn named_times(value: Value) -> Value {
    replaced(value, &|text| {
        let is_time = text.len() > 19 && text.as_bytes()[10] == b'T' && text.starts_with("20");
        is_time.then(|| if text.ends_with('Z') { "<time>Z" } else { "<time>" })
    })
}

fn replaced(value: Value, name: &impl Fn(&str) -> Option<&'static str>) -> Value {
    match value {
        Value::String(text) => json!(name(&text).map_or(text, str::to_owned)),
        Value::Array(values) => values.into_iter().map(|value| replaced(value, name)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| (key, replaced(value, name))).collect())
        }
        value => value,
    }
}
