//! `rowcast explain`: why somebody gets a row, or may use a private channel, or may not.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::auth::{TokenError, Verifier, jwks};
use crate::config::Settings;
use crate::hub::explain::{
    self, Explanation, RowExplanation, RowOutcome, RuleExplanation, RuleOutcome, Ruling, Scope,
    TopicExplanation, Wanted, Word,
};
use crate::policy::Claims;
use crate::telemetry::clock;

use super::flags::{SettingFlags, TOOLS};
use super::{Error, block_on, print, say};

/// Explain why somebody gets a row, or may use a private channel, or may not
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["token", "claims"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["table", "topic"]))]
pub(super) struct Arguments {
    /// Token of the caller, verified with the configured keys; - reads it from standard input
    #[arg(long)]
    token: Option<String>,
    /// Claims of the caller in place of a token, unverified: for whoever may read the database anyway
    #[arg(long, value_name = "JSON", value_parser = super::token::object)]
    claims: Option<Map<String, Value>>,
    /// Table of the row, with its schema
    #[arg(long, value_name = "SCHEMA.TABLE", requires = "key")]
    table: Option<String>,
    /// A column of its primary key and the value; once for each column
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = pair, requires = "table")]
    key: Vec<(String, String)>,
    /// Topic of a private channel, without the prefix realtime:
    #[arg(long)]
    topic: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags<TOOLS>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast explain --token \"$TOKEN\" --table public.messages --key id=42
  rowcast explain --claims '{\"role\": \"authenticated\", \"sub\": \"6f0c…\"}' --table public.members \\
                  --key room=7 --key member=6f0c…
  rowcast explain --token - --topic room:7 --json < token

It reads the catalog, loads the tables that policies read, evaluates the policies as the server does, and asks Postgres
the same question as the caller. It says which policies bind the role, what each comes to, what was asked of Postgres
and why, and which columns are visible. It prints names and verdicts, and no value of a row or a token.

The row is looked at as it is stored now; the server judges each change as of its own commit. Other settings than these
come from the environment and the file, as for `rowcast serve`.

Exit code 0 means explained, whatever the verdict; 1 that something failed, or that memory and Postgres differ, which
must never be; 2 that the command line or a setting is wrong.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let resolved = arguments.flags.resolve()?;
    let settings = match arguments.claims {
        Some(_) => resolved.settings_without_keys()?,
        None => resolved.settings()?,
    };
    let wanted = wanted(arguments)?;
    block_on(async {
        let claims = caller(arguments, &settings).await?;
        let scope = Scope {
            database: settings.database,
            publication: settings.wal.publication,
            mirror_bytes_max: settings.policy.mirror_bytes_max,
            ask_timeout: settings.hub.ask_timeout,
        };
        let explanation =
            explain::explain(&scope, &claims, &wanted, |step| say(format_args!("{step} …"))).await?;
        print(match (&explanation, arguments.json) {
            (_, true) => serde_json::to_string_pretty(&explanation).map_err(|error| Error::failed(&error))?,
            (Explanation::Row(row), false) => row_text(row),
            (Explanation::Topic(topic), false) => topic_text(topic),
        });
        if explanation.differs() { Err(contradiction()) } else { Ok(()) }
    })
}

/// The worst that can be found.
fn contradiction() -> Error {
    Error {
        text: "MEMORY AND POSTGRES DIFFER: a compiled policy is wrong".to_owned(),
        remedy: None,
        usage: false,
    }
    .help("report it with the text of the policies; a server whose shadow check meets it asks Postgres about that table")
}

fn wanted(arguments: &Arguments) -> Result<Wanted, Error> {
    if let Some(topic) = &arguments.topic {
        return Ok(Wanted::Topic(topic.strip_prefix("realtime:").unwrap_or(topic).to_owned()));
    }
    let table = arguments.table.as_deref().unwrap_or_default();
    let Some((schema, name)) =
        table.split_once('.').filter(|(schema, name)| !schema.is_empty() && !name.is_empty())
    else {
        return Err(
            Error::usage("--table wants a schema and a table").help("such as --table public.messages")
        );
    };
    Ok(Wanted::Row { schema: schema.to_owned(), table: name.to_owned(), key: arguments.key.clone() })
}

/// Who asks.
async fn caller(arguments: &Arguments, settings: &Settings) -> Result<Arc<Claims>, Error> {
    if let Some(claims) = &arguments.claims {
        let Some(Value::String(role)) = claims.get("role") else {
            return Err(Error::usage("the claims lack the role").help("add \"role\": \"authenticated\""));
        };
        let json = Value::Object(claims.clone()).to_string().into();
        return Ok(Arc::new(Claims { role: role.as_str().into(), json, expires_at: i64::MAX }));
    }
    let mut token = arguments.token.clone().unwrap_or_default();
    if token == "-" {
        token.clear();
        std::io::stdin().read_to_string(&mut token).map_err(|error| Error::failed(&error))?;
    }
    let verifier = Arc::new(Verifier::new(settings.auth.verifier_config()));
    let _follower = jwks::Follower::start(settings.auth.key_sources(), &verifier)
        .await
        .map_err(|error| Error::failed(&error))?;
    verifier.verify(token.trim(), clock::unix_seconds()).map_err(|error| refused(&error))
}

/// A token that the server refuses, too.
fn refused(error: &TokenError) -> Error {
    let remedy = match error {
        TokenError::Expired { .. } => {
            "the server refuses it as well; take a fresh one, or give what it says with --claims"
        }
        TokenError::Signer { .. } | TokenError::Signature => {
            "check jwt_secret or the key set: it must be the one that this token was signed with"
        }
        TokenError::MissingClaims => "a token needs the claims role and exp",
        TokenError::Malformed | TokenError::UnknownApiKey => {
            "give the whole token: three parts with dots between them, or a configured sb_ key"
        }
        TokenError::RoleNotAllowed { .. } => {
            "the server refuses it as well; token_roles lists the roles that tokens may have"
        }
        TokenError::InvalidExpiration | TokenError::InvalidIssuedAt | TokenError::ClaimDiffers { .. } => {
            "the server refuses it as well; see jwt_claims_required"
        }
    };
    Error::failed(error).help(remedy)
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.to_owned(), value.to_owned())),
        _ => Err("expected a column and its value, such as id=42".to_owned()),
    }
}

fn row_text(row: &RowExplanation) -> String {
    let mut text = format!("{} as {}, an insert or update of the row with that key\n\n", row.table, row.role);
    let yes = |is: bool| if is { "yes" } else { "no" };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let cut = if row.is_cut { "; with a row filter or a column list" } else { "" };
    let events = if row.every_event { "" } else { "; not every insert, update and delete" };
    let old = match row.replica_identity {
        "full" => "the whole row",
        "index" => "the columns of an index",
        "nothing" => "nothing",
        _ => "the primary key",
    };
    for (name, value) in [
        ("published", format!("in {}{events}{cut}", row.publication)),
        ("primary key", list(&row.primary_key)),
        ("old rows hold", format!("{old} (replica identity {})", row.replica_identity)),
        ("row security", yes(row.row_security).to_owned()),
        ("binds the role", yes(row.is_bound).to_owned()),
        ("may see", list(&row.columns_visible)),
        ("may not see", list(&row.columns_hidden)),
    ] {
        let _ = writeln!(text, "  {name:<16}{value}");
    }
    if !row.ruling.rules.is_empty() {
        text.push_str("\nPolicies that bind the role\n");
        rules_text(&mut text, &row.ruling.rules);
    }
    relations_text(&mut text, &row.ruling);
    text.push_str("\nVerdict\n");
    verdict_text(&mut text, &row.ruling);
    let word = match row.outcome {
        RowOutcome::Sent => "SENT",
        RowOutcome::Withheld => "NOT SENT, and the subscriber is not told",
        RowOutcome::Refused => "NOT SENT; the subscriber gets an error in place of the row",
    };
    let _ = write!(text, "\n{word}: {}", row.because);
    text
}

fn topic_text(topic: &TopicExplanation) -> String {
    let mut text = format!("A private channel as {}\n", topic.role);
    if !topic.is_bound {
        text.push_str("\n  row level security on realtime.messages does not bind the role\n");
    }
    for question in &topic.questions {
        let what = match (question.action, question.extension) {
            ("read", "broadcast") => "join, and receive broadcasts",
            ("read", _) => "see presence",
            (_, "broadcast") => "send broadcasts",
            _ => "be tracked in presence",
        };
        let _ = writeln!(text, "\n{}/{}: {what}", question.action, question.extension);
        rules_text(&mut text, &question.ruling.rules);
        relations_text(&mut text, &question.ruling);
        verdict_text(&mut text, &question.ruling);
    }
    text.trim_end().to_owned()
}

fn rules_text(text: &mut String, rules: &[RuleExplanation]) {
    for rule in rules {
        let kind = if rule.permissive { "permissive" } else { "restrictive" };
        let outcome = match rule.outcome {
            RuleOutcome::True => "true",
            RuleOutcome::False => "false",
            RuleOutcome::Null => "null",
            RuleOutcome::AskedTrue => "asked: true",
            RuleOutcome::AskedFalse => "asked: not true",
            RuleOutcome::AskedError => "asked: error",
            RuleOutcome::Asked => "asked",
        };
        let reads = match &*rule.relations {
            [] => String::new(),
            relations => format!("  reads {}", relations.join(", ")),
        };
        let _ = writeln!(text, "  {kind:<12}{outcome:<16}{}{reads}", rule.policy);
        for (name, words) in [("why", &rule.why), ("help", &rule.advice), ("sql", &rule.sql)] {
            if let Some(words) = words {
                let _ = writeln!(text, "  {:<12}{name:>6}: {words}", "");
            }
        }
    }
}

fn relations_text(text: &mut String, ruling: &Ruling) {
    for relation in &ruling.relations {
        let state = match &relation.hindrance {
            None => "held in memory".to_owned(),
            Some(why) => format!("not held in memory: {why}"),
        };
        let _ = writeln!(text, "  {:<12}{}: {state}", "table", relation.table);
    }
}

fn verdict_text(text: &mut String, ruling: &Ruling) {
    let word = |word| match word {
        Word::Allows => "allows",
        Word::Denies => "denies",
        Word::Asks => "asks Postgres",
        Word::Fails => "error, which denies",
    };
    for (name, said, why) in
        [("in memory", ruling.memory, &ruling.doubt), ("Postgres", ruling.postgres, &ruling.error)]
    {
        let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let _ = writeln!(text, "  {name:<12}{}{why}", word(said));
    }
    if ruling.differs {
        text.push_str("  !!!! MEMORY AND POSTGRES DIFFER: a compiled policy is wrong !!!!\n");
    }
}

impl From<explain::Error> for Error {
    fn from(error: explain::Error) -> Self {
        Self { remedy: error.remedy(), ..Self::failed(&error) }
    }
}

#[cfg(test)]
mod tests {
    use super::{pair, verdict_text};
    use crate::hub::explain::{Ruling, Word};

    #[test]
    fn a_contradiction_is_loud_and_agreement_is_not() {
        for (differs, expected) in [(true, 1), (false, 0)] {
            let ruling = Ruling {
                rules: Vec::new(),
                relations: Vec::new(),
                memory: Word::Allows,
                doubt: None,
                postgres: Word::Fails,
                error: Some("22012".to_owned()),
                differs,
            };
            let mut text = String::new();
            verdict_text(&mut text, &ruling);
            assert_eq!(text.matches("MEMORY AND POSTGRES DIFFER").count(), expected, "{text}");
            assert!(text.contains("error, which denies (22012)"), "{text}");
        }
    }

    #[test]
    fn keys_are_columns_and_values() {
        let read = |text| pair(text).map(|(column, value)| format!("{column}|{value}"));
        assert_eq!(read("id=42").as_deref(), Ok("id|42"));
        assert_eq!(read("name=a=b").as_deref(), Ok("name|a=b"));
        assert_eq!(read("name=").as_deref(), Ok("name|"));
        assert!(read("id").is_err() && read("=1").is_err());
    }
}
