//! Precedence, stock names, and all problems at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::reference;
use super::setting::{Kind, SETTINGS, Setting};
use super::{Origin, Problems, Settings, Slot, Sources};
use crate::auth::Roles;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const DATABASE: &str = "postgres://ann:hunter2@db/app";

fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: Option<&str>) -> Sources {
    Sources {
        flags: flags.iter().map(|&(name, text)| (name, text.to_owned())).collect(),
        environment: environment.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect(),
        file: file.map(|text| (PathBuf::from("rowcast.toml"), text.to_owned())),
    }
}

/// With the two required settings given.
fn settings(environment: &[(&str, &str)], file: Option<&str>) -> Result<Settings, Problems> {
    let required = [("database_url", DATABASE), ("jwt_secret", SECRET)];
    sources(&required, environment, file).resolve().settings()
}

fn text(sources: &Sources, name: &str) -> (String, Origin) {
    let given = sources.resolve().values.remove(name).unwrap();
    (given.text, given.origin)
}

#[test]
fn a_boolean_is_one_in_the_file_and_a_word_elsewhere() {
    assert!(settings(&[], Some("private_only = true")).unwrap().channel.private_only);
    assert!(settings(&[("ROWCAST_PRIVATE_ONLY", "true")], None).unwrap().channel.private_only);
    assert!(!settings(&[], None).unwrap().channel.private_only);
    for (environment, file) in
        [(&[][..], Some("private_only = 1")), (&[("ROWCAST_PRIVATE_ONLY", "yes")], None)]
    {
        let problems = settings(environment, file).unwrap_err().to_string();
        assert!(problems.contains("expected true or false"), "{problems}");
    }
}

#[test]
fn defaults_are_valid_and_complete() {
    let settings = settings(&[], None).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(settings.wal.slot, Slot::Temporary);
    assert_eq!(settings.socket.frame_bytes_max, 5_000_000);
    assert!((1..=8).contains(&settings.hub.shard_count));
}

#[test]
fn stronger_source_wins() {
    let flag = ("listen", "127.0.0.1:1");
    let own = ("ROWCAST_LISTEN", "127.0.0.1:2");
    let stock = ("PORT", "3");
    let file = "listen = '127.0.0.1:4'";
    for (flags, environment, file, expected, origin) in [
        (&[flag][..], &[own, stock][..], Some(file), "127.0.0.1:1", "--listen"),
        (&[], &[own, stock], Some(file), "127.0.0.1:2", "ROWCAST_LISTEN"),
        (&[], &[stock], Some(file), "0.0.0.0:3", "PORT"),
        (&[], &[("PORT", "")], Some(file), "127.0.0.1:4", "rowcast.toml"),
        (&[], &[("ROWCAST_LISTEN", "")], None, "127.0.0.1:4000", "default"),
    ] {
        let (text, from) = text(&sources(flags, environment, file), "listen");
        assert_eq!((text.as_str(), from.to_string().as_str()), (expected, origin));
    }
}

#[test]
fn stock_container_variables_mean_the_same() {
    for (name, environment, expected) in [
        ("jwt_secret", &[("API_JWT_SECRET", SECRET)][..], SECRET),
        ("database_url", &[("DATABASE_URL", DATABASE), ("DB_HOST", "x")], DATABASE),
        ("database_url", &[("DB_HOST", "db")], "postgres://supabase_admin:postgres@db:5432/postgres"),
        (
            "database_url",
            &[
                ("DB_HOST", "::1"),
                ("DB_PORT", "1"),
                ("DB_USER", "u"),
                ("DB_PASSWORD", "p@/"),
                ("DB_NAME", "n"),
            ],
            "postgres://u:p%40%2F@[::1]:1/n",
        ),
        (
            "database_url",
            &[("DB_HOST", "db"), ("DB_SSL", "true")],
            "postgres://supabase_admin:postgres@db:5432/postgres?sslmode=require",
        ),
        ("database_url", &[("DB_USER", "somebody")], ""),
        ("slot_name", &[("SLOT_NAME_SUFFIX", "blue")], "rowcast_blue"),
        ("migrate_on_start", &[("SEED_SELF_HOST", "true")], "true"),
        ("migrate_on_start", &[("SEED_SELF_HOST", "1")], "false"),
        ("connect_error_delay_ms", &[("CONNECT_ERROR_BACKOFF_MS", "1")], "1"),
        ("join_error_delay_ms", &[("CHANNEL_ERROR_BACKOFF_MS", "2")], "2"),
        ("presence_window_events_max", &[("CLIENT_PRESENCE_MAX_CALLS", "3")], "3"),
        ("no_channel_timeout_ms", &[("NO_CHANNEL_TIMEOUT_IN_MS", "5000")], "5000"),
        ("presence_window_ms", &[("CLIENT_PRESENCE_WINDOW_MS", "400")], "400"),
        ("channels_per_socket_max", &[("TENANT_MAX_CHANNELS_PER_CLIENT", "5")], "5"),
        ("concurrent_users_max", &[("TENANT_MAX_CONCURRENT_USERS", "9")], "9"),
        ("tenant_id", &[("SELF_HOST_TENANT_NAME", "our-tenant")], "our-tenant"),
        ("joins_per_second_max", &[("TENANT_MAX_JOINS_PER_SECOND", "6")], "6"),
        ("events_per_second_max", &[("TENANT_MAX_EVENTS_PER_SECOND", "8")], "8"),
        ("header_bytes_max", &[("MAX_HEADER_LENGTH", "8192")], "8192"),
        ("connections_max", &[("MAX_CONNECTIONS", "7")], "7"),
        ("jwt_secret_next", &[("API_JWT_SECRET_NEXT", SECRET)], SECRET),
        ("jwt_jwks", &[("API_JWT_JWKS", KEY_SET)], KEY_SET),
        ("jwt_claims_required", &[("JWT_CLAIM_VALIDATORS", "{}")], "{}"),
        ("admin_token_blocklist", &[("API_TOKEN_BLOCKLIST", "a,b")], "a,b"),
        ("metrics_jwt_secret", &[("METRICS_JWT_SECRET", SECRET)], SECRET),
        ("metrics_token_blocklist", &[("METRICS_TOKEN_BLOCKLIST", "a")], "a"),
        ("messages_maintenance_ms", &[("JANITOR_SCHEDULE_TIMER_IN_MS", "8000")], "8000"),
        ("log_level", &[("LOG_LEVEL", "warning")], "warn"),
    ] {
        assert_eq!(text(&sources(&[], environment, None), name).0, expected, "{environment:?}");
    }
}

#[test]
fn whole_stock_environment_is_accepted() {
    let environment = [
        ("PORT", "4000"),
        ("DB_HOST", "db"),
        ("DB_PORT", "5432"),
        ("DB_USER", "supabase_admin"),
        ("DB_PASSWORD", "secret"),
        ("DB_NAME", "postgres"),
        ("DB_AFTER_CONNECT_QUERY", "SET search_path TO _realtime"),
        ("DB_ENC_KEY", "supabaserealtime"),
        ("API_JWT_SECRET", SECRET),
        ("API_JWT_SECRET_NEXT", SECRET),
        ("API_JWT_JWKS", r#"{"keys":[]}"#),
        ("API_TOKEN_BLOCKLIST", ""),
        ("METRICS_JWT_SECRET", SECRET),
        ("JWT_CLAIM_VALIDATORS", "{}"),
        ("SECRET_KEY_BASE", "x"),
        ("ERL_AFLAGS", "-proto_dist inet_tcp"),
        ("DNS_NODES", "''"),
        ("RLIMIT_NOFILE", "10000"),
        ("APP_NAME", "realtime"),
        ("SEED_SELF_HOST", "true"),
        ("RUN_JANITOR", "true"),
        ("DISABLE_HEALTHCHECK_LOGGING", "true"),
    ];
    let settings = sources(&[], &environment, None).resolve().settings().unwrap();
    assert_eq!(settings.listen.to_string(), "0.0.0.0:4000");
    assert!(settings.migrate_on_start);
    assert_eq!(settings.database.to_string(), "supabase_admin@db:5432/postgres");
}

#[test]
fn switch_is_a_boolean_in_a_file_and_a_word_elsewhere() {
    assert!(!settings(&[], None).unwrap().migrate_on_start);
    assert!(settings(&[], Some("migrate_on_start = true")).unwrap().migrate_on_start);
    assert!(settings(&[("ROWCAST_MIGRATE_ON_START", "true")], None).unwrap().migrate_on_start);
    assert!(settings(&[], Some("migrate_on_start = 'true'")).is_err());
    assert!(settings(&[("ROWCAST_MIGRATE_ON_START", "yes")], None).is_err());
}

#[test]
fn all_problems_are_reported_at_once() {
    let environment =
        [("ROWCAST_IDLE_TIMEOUT_MS", "soon"), ("ROWCAST_FRAME_BYTE_MAX", "1"), ("ROWCAST_SLOT_NAME", "A b")];
    let file =
        "shard_count = 65\nlog_format = 'xml'\nslot = true\nidle_timeout_ms = '5'\nfrom = 1\nPort = 1\n";
    let flags = [("listen", "localhost"), ("jwt_secret", "too short")];
    let problems = sources(&flags, &environment, Some(file)).resolve().settings().unwrap_err();
    let mut names: Vec<_> = problems.0.iter().map(|problem| problem.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "Port",
        "ROWCAST_FRAME_BYTE_MAX",
        "database_url",
        "from",
        "idle_timeout_ms",
        "idle_timeout_ms",
        "jwt_secret",
        "listen",
        "log_format",
        "shard_count",
        "slot",
        "slot_name",
    ];
    assert_eq!(names, expected);
    let text = problems.to_string();
    for part in [
        "listen (from --listen): expected an IP address and a port, such as 127.0.0.1:4000, found \"localhost\"",
        "shard_count (from rowcast.toml): expected a whole number from 0 to 64, found \"65\"",
        "log_format (from rowcast.toml): expected text or json, found \"xml\"",
        "ROWCAST_FRAME_BYTE_MAX: unknown setting; did you mean ROWCAST_FRAME_BYTES_MAX?",
        "jwt_secret (from --jwt-secret): it has 9 of the at least 32 bytes that HS256 needs",
        "openssl rand -hex 32",
        "database_url: not set; give --database-url or DATABASE_URL",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(!text.contains("too short\""), "shows the secret: {text}");
}

#[test]
fn bounds_are_included_and_their_neighbours_are_not() {
    for setting in SETTINGS {
        let Kind::Integer(min, max) = setting.kind else { continue };
        let variable = setting.environment();
        let accepts = |number: u64| settings(&[(&variable, &number.to_string())], None).is_ok();
        assert!(accepts(min) && accepts(max), "{variable}");
        assert!(min == 0 || !accepts(min - 1), "{variable}");
        assert!(!accepts(max + 1), "{variable}");
    }
}

/// A key set with one Ed25519 key, as its issuer publishes it.
const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[test]
fn a_secret_is_asked_for_where_there_is_no_key_set() {
    let array = KEY_SET.strip_prefix(r#"{"keys":"#).and_then(|rest| rest.strip_suffix('}')).unwrap();
    for (name, value, is_enough) in [
        ("jwt_jwks", KEY_SET, true),
        ("jwt_jwks", array, true),
        ("jwt_jwks", r#"{"keys":[]}"#, false),
        ("jwt_jwks", r#"[{"kty":"OKP"}]"#, false),
        ("jwt_jwks_file", "keys.json", true),
        ("jwt_jwks_url", "https://auth.example.com/keys", true),
        ("jwt_secret_next", SECRET, false),
        ("publishable_keys", "sb_publishable_0123456789abcdef", false),
    ] {
        let flags = [("database_url", DATABASE), (name, value)];
        let settings = sources(&flags, &[], None).resolve().settings();
        assert_eq!(settings.is_ok(), is_enough, "{name} = {value}");
        assert!(is_enough || settings.unwrap_err().to_string().contains("jwt_secret: not set"), "{name}");
    }
}

#[test]
fn keys_are_checked_without_being_shown() {
    for (name, value, complaint) in [
        ("jwt_jwks", r#"{"k":"opensesame"}"#, "the key set is neither"),
        ("jwt_jwks_url", "http://auth/?k=opensesame", "only https is safe"),
        ("jwt_jwks_url", "https://a:opensesame@auth/", "it names a user or a password"),
        ("publishable_keys", "sb_secret_opensesame1234567890", "expected keys of sb_publishable_"),
        ("secret_keys", "sb_publishable_opensesame1234", "expected keys of sb_secret_"),
        ("secret_keys", "sb_secret_opensesame", "at least 16"),
        ("secret_keys", "sb_secret_opensesame 1234567890", "at least 16"),
        ("jwt_secret_next", "opensesame", "it has 10 of the at least 32 bytes"),
        ("jwt_claims_required", "[]", "expected a JSON object"),
    ] {
        let flags = [("database_url", DATABASE), ("jwt_secret", SECRET), (name, value)];
        let problems = sources(&flags, &[], None).resolve().settings().unwrap_err().to_string();
        assert!(problems.contains(name) && problems.contains(complaint), "{problems}");
        assert!(!problems.contains("opensesame"), "{problems}");
    }
    let flags = [
        ("database_url", DATABASE),
        ("jwt_secret", SECRET),
        (
            "jwt_jwks",
            r#"[{"kty":"oct","kid":"k","k":"b3BlbnNlc2FtZW9wZW5zZXNhbWVvcGVuc2VzYW1lb3BlbnNlc2FtZQ"}]"#,
        ),
        ("publishable_keys", "sb_publishable_opensesame1234567, sb_publishable_opensesame7654321,"),
        ("secret_keys", "sb_secret_opensesame1234567"),
        ("admin_token_blocklist", "opensesame,b"),
    ];
    let settings = sources(&flags, &[], None).resolve().settings().unwrap();
    assert_eq!((settings.auth.publishable_keys.len(), settings.auth.admin_token_blocklist.len()), (2, 2));
    let shown = format!("{settings:?}");
    assert!(!shown.contains("opensesame") && !shown.contains("b3Blbn"), "{shown}");
}

#[test]
fn what_apps_are_told_is_public() {
    let anon = "e30.eyJyb2xlIjoiYW5vbiJ9.c2ln";
    let service = "e30.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln";
    for (name, value, is_good) in [
        ("ROWCAST_PUBLIC_URL", "https://chat.example", true),
        ("ROWCAST_PUBLIC_URL", "http://127.0.0.1:4000/base/", true),
        ("ROWCAST_PUBLIC_URL", "chat.example", false),
        ("ROWCAST_PUBLIC_URL", "ws://chat.example", false),
        ("ROWCAST_PUBLIC_URL", "https://a:opensesame@chat.example", false),
        ("ROWCAST_PUBLIC_URL", "https://chat.example/?apikey=x", false),
        ("ROWCAST_PUBLIC_API_KEY", "sb_publishable_0123456789abcdef", true),
        ("ROWCAST_PUBLIC_API_KEY", anon, true),
        ("ROWCAST_PUBLIC_API_KEY", "sb_secret_0123456789abcdef", false),
        ("ROWCAST_PUBLIC_API_KEY", service, false),
        ("ROWCAST_PUBLIC_API_KEY", "something else", false),
    ] {
        assert_eq!(settings(&[(name, value)], None).is_ok(), is_good, "{name} {value}");
    }
    let found = settings(&[("ROWCAST_PUBLIC_URL", "https://chat.example/base/")], None).unwrap();
    assert_eq!(found.public_url.as_deref(), Some("https://chat.example/base"));
    let found = settings(&[], None).unwrap();
    assert_eq!((found.public_url, found.public_api_key.is_none()), (None, true));
}

#[test]
fn roles_are_listed_or_any() {
    let roles = |text| settings(&[("ROWCAST_TOKEN_ROLES", text)], None).map(|settings| settings.auth.roles);
    let only = |names: &[&str]| Roles::Only(names.iter().map(|name| (*name).to_owned()).collect());
    let usual = settings(&[], None).unwrap().auth.roles;
    assert_eq!(usual, only(&["anon", "authenticated", "service_role"]));
    assert_eq!(roles("*").unwrap(), Roles::Any);
    assert_eq!(roles("anon , the editor").unwrap(), only(&["anon", "the editor"]));
    for wrong in [" , ", "anon, *", &"r".repeat(64)] {
        assert!(roles(wrong).unwrap_err().to_string().contains("token_roles"), "{wrong:?}");
    }
}

#[test]
fn clock_skew_counts_in_whole_seconds() {
    for (text, seconds) in [("0", 0), ("1", 1), ("1000", 1), ("1001", 2), ("300_000", 300)] {
        let settings = settings(&[("ROWCAST_JWT_CLOCK_SKEW_MS", text)], None).unwrap();
        assert_eq!(settings.auth.clock_skew_seconds, seconds, "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let settings = settings(&[], None).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn broken_file_is_located_without_quoting_it() {
    let problems =
        settings(&[], Some("slot = 'durable'\njwt_secret = \"opensesame\n")).unwrap_err().to_string();
    assert!(problems.contains("line 2 is not valid TOML"), "{problems}");
    assert!(!problems.contains("opensesame"), "{problems}");
}

#[test]
fn variables_of_container_platforms_are_no_settings() {
    let environment = [
        ("ROWCAST_SERVICE_HOST", "10.0.0.1"),
        ("ROWCAST_PORT", "tcp://10.0.0.1:4000"),
        ("ROWCAST_PORT_4000_TCP", "x"),
    ];
    assert!(settings(&environment, None).is_ok());
}

#[test]
fn commands_that_need_less_ask_for_less() {
    assert!(sources(&[("database_url", DATABASE)], &[], None).resolve().database().is_ok());
    assert!(sources(&[("jwt_secret", SECRET)], &[], None).resolve().jwt_secret().is_ok());
    assert!(sources(&[("jwt_secret", SECRET)], &[], None).resolve().database().is_err());
}

/// The line of docs/configuration.md about one setting.
fn page_line(setting: &Setting) -> String {
    let entry = reference::entry(setting.name).unwrap();
    let default =
        if entry.default == "\"\"" { "none" } else { &format!("`{}`", entry.default.trim_matches('"')) };
    let names: Vec<String> = std::iter::once(setting.environment())
        .chain(setting.stock.iter().map(ToString::to_string))
        .map(|name| format!("`{name}`"))
        .collect();
    let [name, flag, names] = [setting.name, &setting.flag(), &names.join(", ")];
    format!(
        "| `{name}` | {} | {default} | {} | `--{flag}` | {names} |",
        entry.comment,
        setting.kind.expectation()
    )
}

#[test]
fn page_describes_every_setting_as_the_reference_does() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| (line.split('`').nth(1).unwrap(), line))
        .collect();
    let missing: Vec<String> = SETTINGS
        .iter()
        .map(|setting| (setting.name, page_line(setting)))
        .filter(|(name, line)| rows.get(name) != Some(&line.as_str()))
        .map(|(_, line)| line)
        .collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks these lines:\n{}", missing.join("\n"));
    assert_eq!(rows.len(), SETTINGS.len(), "docs/configuration.md describes settings that are none");
}
