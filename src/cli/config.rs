//! `rowcast config`: the settings that would be in force, and where each comes from.

use crate::config::setting::SETTINGS;
use crate::config::{Given, Resolved};

use super::flags::{ALL, SettingFlags};
use super::{Error, print};

/// Print the settings in force and where each comes from
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags<ALL>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast config
  rowcast config --json --config /etc/rowcast.toml

Secrets are redacted. If a setting is wrong or missing, all problems follow on standard error, and the exit code is 2.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let resolved = arguments.flags.resolve()?;
    print(if arguments.json { json(&resolved) } else { table(&resolved) });
    resolved.settings()?;
    Ok(())
}

fn json(resolved: &Resolved) -> String {
    let object: serde_json::Map<String, serde_json::Value> = lines(resolved)
        .map(|(name, shown, given)| {
            (name.to_owned(), serde_json::json!({ "value": shown, "from": given.origin.to_string() }))
        })
        .collect();
    format!("{:#}", serde_json::Value::Object(object))
}

fn table(resolved: &Resolved) -> String {
    let lines: Vec<String> = lines(resolved)
        .map(|(name, shown, given)| format!("{name:<30} {shown:<24} {}", given.origin))
        .collect();
    lines.join("\n")
}

/// Name, what may be shown of the value, and its source.
fn lines(resolved: &Resolved) -> impl Iterator<Item = (&'static str, String, &Given)> {
    SETTINGS.iter().filter_map(|setting| {
        let given = resolved.values.get(setting.name)?;
        Some((setting.name, shown(given, setting.kind), given))
    })
}

fn shown(given: &Given, kind: crate::config::setting::Kind) -> String {
    use crate::config::setting::Kind;
    if given.text.is_empty() {
        return "not set".to_owned();
    }
    match kind {
        Kind::DatabaseUrl => crate::postgres::connect::Database::parse(&given.text)
            .map_or_else(|_| "[redacted]".to_owned(), |database| database.to_string()),
        Kind::KeySetUrl => crate::auth::jwks::Address::parse(&given.text)
            .map_or_else(|_| "[redacted]".to_owned(), |address| address.to_string()),
        kind if kind.is_secret() => "[redacted]".to_owned(),
        _ => given.text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Sources;

    #[test]
    fn secrets_are_redacted_and_addresses_lose_what_may_be_one() {
        let flags = [
            ("database_url", "postgres://ann:opensesame@db/app"),
            ("jwt_secret", "opensesame"),
            ("jwt_secret_next", "opensesame"),
            ("jwt_jwks", "[{\"k\":\"opensesame\"}]"),
            ("jwt_jwks_url", "https://auth.example.com/keys?key=opensesame"),
            ("publishable_keys", "sb_publishable_opensesame"),
            ("secret_keys", "sb_secret_opensesame"),
            ("admin_token_blocklist", "opensesame"),
            ("metrics_jwt_secret", "opensesame"),
            ("metrics_token_blocklist", "opensesame"),
        ];
        let flags = flags.into_iter().map(|(name, text)| (name, text.to_owned())).collect();
        let resolved = Sources { flags, ..Sources::default() }.resolve();
        for printed in [super::table(&resolved), super::json(&resolved)] {
            assert!(!printed.contains("opensesame"), "{printed}");
            assert!(printed.contains("https://auth.example.com/keys"), "{printed}");
        }
    }
}
