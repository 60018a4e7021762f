//! Tables of refusals: every route and every frame of an app, against everything that can be wrong with one.
//!
//! A row has a cell for each reason, so one that is missing does not compile.

use rowcast::auth::{Secret, sign};
use serde_json::{Value, json};

use crate::whole::{ANN, Answer, Stage, token, token_of};

/// No id of anything.
pub(crate) const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

/// What is no id, and no time.
const MALFORMED: &str = "thread-uuid";

/// Allows everybody one call of each kind from now on.
const ONE_OF_EACH: &str =
    "delete from rowcast.messaging_rates; update rowcast.messaging_settings set value = 1";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Why {
    NoToken,
    BadToken,
    /// A token of nobody who could take part in anything.
    NobodysToken,
    OtherMethod,
    /// It is about what others talk in.
    Others,
    Unknown,
    Malformed,
    NoJson,
    OtherMedia,
    TooLarge,
    TooOften,
}

/// There is nothing of the kind in this request.
pub(crate) const NEVER: u16 = 0;

impl Why {
    pub(crate) const ALL: [Self; 11] = [
        Self::NoToken,
        Self::BadToken,
        Self::NobodysToken,
        Self::OtherMethod,
        Self::Others,
        Self::Unknown,
        Self::Malformed,
        Self::NoJson,
        Self::OtherMedia,
        Self::TooLarge,
        Self::TooOften,
    ];
}

/// A route: its method, or `WS` for a socket; its path; its body, if it reads one; what both are about in place of
/// `{}`; and the status of each refusal.
pub(crate) struct Route(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) [u16; Why::ALL.len()],
);

/// Asks as Ann for everything that must be refused her; `others` is what others talk in, and `check` looks at each
/// answer.
pub(crate) async fn refuse_all(
    stage: &Stage,
    routes: &[Route],
    others: &str,
    check: impl Fn(&Answer, u16, &str),
) {
    for (place, why) in Why::ALL.into_iter().enumerate() {
        for route in routes {
            let status = route.4[place];
            if status == NEVER {
                continue;
            }
            if why == Why::TooOften {
                stage.database.execute(ONE_OF_EACH).await;
            }
            for authorization in authorizations(why) {
                let answer = ask_wrongly(stage, route, why, others, &authorization).await;
                let what = format!("{why:?} {} {} {authorization}", route.0, route.1);
                check(&answer, status, &what);
                let seconds =
                    answer.header("retry-after").map(|seconds| json!(seconds.parse::<u64>().unwrap()));
                assert_eq!(
                    seconds.is_some_and(|seconds| is_soon(&seconds)),
                    status == 429,
                    "{what} {answer:?}"
                );
            }
        }
    }
}

/// Every header with which to ask for this reason.
fn authorizations(why: Why) -> Vec<String> {
    match why {
        Why::NoToken => ["", "Basic eDp5", "Bearer"].map(str::to_owned).to_vec(),
        Why::BadToken => {
            let claims = json!({ "sub": ANN, "role": "authenticated", "exp": 4_000_000_000_u64 });
            let other = Secret::new("another secret of enough bytes to sign with").unwrap();
            let forged = sign(&other, claims.as_object().unwrap());
            let late = token_of(&json!({ "sub": ANN }), -10);
            [&*forged, &late, "no.good.token"].map(|token| format!("Bearer {token}")).to_vec()
        }
        Why::NobodysToken => vec![format!("Bearer {}", token_of(&json!({ "role": "service_role" }), 60))],
        _ => vec![format!("Bearer {}", token(ANN))],
    }
}

async fn ask_wrongly(stage: &Stage, route: &Route, why: Why, others: &str, authorization: &str) -> Answer {
    let Route(method, path, body, good, _) = route;
    let about = match why {
        Why::Others => others,
        Why::Unknown => NOTHING,
        Why::Malformed => MALFORMED,
        _ => good,
    };
    let target = path.replace("{}", about);
    let mut headers = match authorization {
        "" => String::new(),
        some => format!("authorization: {some}\r\n"),
    };
    if *method == "WS" && why != Why::OtherMethod {
        return stage.refused_socket(&target, &headers).await;
    }
    let method = match (why, *method) {
        (Why::OtherMethod, "GET" | "PUT") => "DELETE",
        (Why::OtherMethod, "WS") => "POST",
        (Why::OtherMethod, _) => "GET",
        (_, method) => method,
    };
    let media = if why == Why::OtherMedia { "text/plain" } else { "application/json" };
    let body = match why {
        Why::NoJson => "{\"".to_owned(),
        Why::TooLarge => " ".repeat(600 * 1024),
        _ => body.replace("{}", about),
    };
    if !body.is_empty() {
        headers += &format!("content-type: {media}\r\n");
    }
    if why == Why::TooOften {
        stage.ask_raw(method, &target, &headers, body.as_bytes()).await;
    }
    stage.ask_raw(method, &target, &headers, body.as_bytes()).await
}

/// Whether so many seconds can be those until a limit by the minute is over.
pub(crate) fn is_soon(seconds: &Value) -> bool {
    seconds.as_u64().is_some_and(|seconds| (1..=60).contains(&seconds))
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wrong {
    /// It does not say what it is about.
    Missing,
    Null,
    NoText,
    NoId,
    /// It is about what others have.
    Others,
    Unknown,
    /// It is about what only somebody else may change, or only somebody else may read.
    NotForThem,
    TooLarge,
    TooDeep,
    TooOften,
}

impl Wrong {
    pub(crate) const ALL: [Self; 10] = [
        Self::Missing,
        Self::Null,
        Self::NoText,
        Self::NoId,
        Self::Others,
        Self::Unknown,
        Self::NotForThem,
        Self::TooLarge,
        Self::TooDeep,
        Self::TooOften,
    ];
}

/// There is nothing of the kind in this frame.
pub(crate) const NOT: &str = "";
pub(crate) const NOT_FOUND: &str = "Not found";
pub(crate) const FORBIDDEN: &str = "You may not do this";
pub(crate) const LARGE: &str = "This must not exceed 65536 bytes";
pub(crate) const DEEP: &str = "The JSON is nested too deeply";
pub(crate) const OFTEN: &str = "Too many requests";

/// What frames of Ann's can be about.
pub(crate) struct Things {
    /// What she may do this with, twice where that is needed.
    pub(crate) good: [String; 2],
    /// What is of a conversation of others.
    pub(crate) others: String,
    /// What she sees, and may not do this with.
    pub(crate) not_for_them: String,
}

/// A frame: its type; the field that says what it is about; its other fields; and the first words of each refusal.
pub(crate) struct Frame(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) [&'static str; Wrong::ALL.len()],
);

impl Frame {
    /// The frame about this thing, and what is wrong with it.
    pub(crate) fn wrong(&self, wrong: Wrong, things: &Things) -> String {
        let Self(kind, field, more, _) = self;
        let mut frame: Value = serde_json::from_str(more).unwrap();
        frame["type"] = json!(kind);
        frame[field] = match wrong {
            Wrong::Null => Value::Null,
            Wrong::NoText => json!([7]),
            Wrong::NoId => json!(MALFORMED),
            Wrong::Others => json!(things.others),
            Wrong::Unknown => json!(NOTHING),
            Wrong::NotForThem => json!(things.not_for_them),
            _ => json!(things.good[1]),
        };
        match wrong {
            Wrong::Missing => drop(frame.as_object_mut().unwrap().remove(*field)),
            Wrong::TooLarge => frame["more"] = json!("x".repeat(70_000)),
            Wrong::TooDeep => {
                let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
                frame["more"] = serde_json::from_str(&deep).unwrap();
            }
            _ => {}
        }
        frame.to_string()
    }

    /// The frame as it must be.
    pub(crate) fn right(&self, things: &Things) -> Value {
        let mut frame: Value = serde_json::from_str(self.2).unwrap();
        frame["type"] = json!(self.0);
        frame[self.1] = json!(things.good[0]);
        frame
    }
}

/// Sends everything that must be refused Ann's socket; `things` says what a frame can be about.
pub(crate) async fn refuse_all_frames(
    stage: &Stage,
    ann: &mut crate::app_socket::Socket,
    frames: &[Frame],
    things: impl Fn(&Frame) -> Things,
    check: impl Fn(&Value, Wrong, &Frame),
) {
    for (place, wrong) in Wrong::ALL.into_iter().enumerate() {
        for frame in frames {
            let words = frame.3[place];
            if words == NOT {
                continue;
            }
            let things = things(frame);
            if wrong == Wrong::TooOften {
                stage.database.execute(ONE_OF_EACH).await;
                ann.send(frame.right(&things)).await;
            }
            ann.text(&frame.wrong(wrong, &things)).await;
            let told = ann.next_of("error").await;
            let said = told["message"].as_str().unwrap();
            assert!(said.starts_with(words), "{wrong:?} {}: {told}", frame.0);
            check(&told, wrong, frame);
        }
    }
    assert!(ann.until_pong().await.iter().all(|frame| frame["type"] != "error"));
}
