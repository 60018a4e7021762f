//! Explains a private channel: what policies on `realtime.messages` let a caller receive and send there.

use std::sync::Arc;

use super::explanation::{Ruling, TopicExplanation, TopicQuestion, Word};
use super::{CallerSettings, Error, State};
use crate::hub::authorization::probe::{self, Outcome};
use crate::hub::authorization::{Answer, Asked, AuthorizationError, Question, Subject};
use crate::policy::program::Program;
use crate::policy::row::RowValues;
use crate::policy::source::Relation;
use crate::policy::value::Value;

/// What a row of `realtime.messages` says that somebody wants to do, beside `broadcast`.
const PRESENCE: &str = "presence";

/// Explains.
pub(super) async fn explain(state: &State, topic: &str) -> Result<TopicExplanation, Error> {
    let source = &state.catalog.source;
    let messages = source.relations.values();
    let messages = messages.clone().find(|known| &*known.schema == "realtime" && &*known.name == "messages");
    let messages = messages.ok_or(Error::NoMessages)?;
    let role = source.roles.iter().find(|(_, role)| role.name == state.claims.role);
    let is_owner = role.is_some_and(|(_, role)| {
        role.has_rights_of.contains(&messages.owner) && !messages.row_security_forced
    });
    let is_bound = messages.row_security && role.is_some_and(|(_, role)| !role.bypasses) && !is_owner;

    let subject = Subject { claims: Arc::clone(&state.claims), topic: topic.into(), headers: "{}".into() };
    let asked =
        [Question::Read, Question::Write].map(|question| Asked { subject: subject.clone(), question });
    let answers = match subject.refusal() {
        Some(refusal) => vec![Err(refusal.clone()), Err(refusal)],
        None => probe::answer(&state.client, &asked).await.map_err(|lost| Error::Query(lost.0))?,
    };
    let programs = state.catalog.roles.get(&state.claims.role).and_then(Option::as_ref);
    let [read, write] = [
        programs.and_then(|role| role.messages.read.clone()),
        programs.and_then(|role| role.messages.write.clone()),
    ];
    let mut questions = Vec::new();
    for ((action, program), answer) in [("read", read), ("write", write)].into_iter().zip(&answers) {
        for extension in ["broadcast", PRESENCE] {
            let mut ruling = judge(state, messages, program.as_deref(), &subject, extension, is_bound);
            let (word, error) = postgres(answer, extension);
            ruling.answered(word, error);
            questions.push(TopicQuestion { action, extension, ruling });
        }
    }
    Ok(TopicExplanation { role: state.claims.role.to_string(), is_bound, questions })
}

/// What memory says about a row that would be inserted.
fn judge(
    state: &State,
    messages: &Relation,
    program: Option<&Program>,
    subject: &Subject,
    extension: &str,
    is_bound: bool,
) -> Ruling {
    let Some(program) = program else {
        let why = if is_bound {
            "the role lacks a privilege on realtime.messages"
        } else {
            "row level security does not bind the role: its privileges decide"
        };
        return Ruling { doubt: Some(why.to_owned()), ..Ruling::of(Word::Asks) };
    };
    let settings = CallerSettings(vec![
        ("role", subject.claims.role.to_string()),
        ("realtime.topic", subject.topic.to_string()),
        ("request.jwt.claims", subject.claims.json.to_string()),
        ("request.jwt.claim.sub", subject.sub().unwrap_or_default()),
        ("request.jwt.claim.role", subject.claims.role.to_string()),
        ("request.headers", subject.headers.to_string()),
    ]);
    let row = RowValues::of(messages.columns.iter().map(|column| match &*column.name {
        "topic" => Some(Value::Text(Arc::clone(&subject.topic))),
        "extension" => Some(Value::Text(extension.into())),
        "private" => Some(Value::Bool(false)),
        // Postgres makes these when the row is inserted.
        "id" | "inserted_at" | "updated_at" => None,
        _ => Some(Value::Null),
    }));
    state.rule(program, &settings, &row)
}

/// What Postgres said about one extension.
fn postgres(answer: &Outcome, extension: &str) -> (Word, Option<String>) {
    match answer {
        Ok(Answer::Rights(rights)) => {
            let may = if extension == PRESENCE { rights.presence } else { rights.broadcast };
            (if may { Word::Allows } else { Word::Denies }, None)
        }
        Ok(Answer::Stored(_)) => (Word::Fails, None),
        Err(AuthorizationError::Policy(code)) => (Word::Fails, Some(code.to_string())),
        Err(error) => (Word::Fails, Some(error.to_string())),
    }
}
