//! Settings as flags: made from the list of settings, so that none is forgotten.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::setting::{Kind, SETTINGS, Setting};
use crate::config::{Problem, Resolved, Sources, reference};

/// A flag for each setting that a subcommand takes, and `--config`.
#[derive(Debug, Default)]
pub(super) struct SettingFlags<const WHICH: u8> {
    values: BTreeMap<&'static str, String>,
    config: Option<PathBuf>,
}

/// Every setting.
pub(super) const ALL: u8 = 0;
/// The database alone.
pub(super) const DATABASE: u8 = 1;
/// Where the server listens alone.
pub(super) const LISTEN: u8 = 3;
/// What commands need that look at what a server would do; the environment and the file have the rest.
pub(super) const TOOLS: u8 = 4;
/// The key of tokens alone.
pub(super) const SECRET: u8 = 2;

/// See [`TOOLS`].
const TOOL_SETTINGS: [&str; 11] = [
    "database_url",
    "jwt_secret",
    "jwt_jwks",
    "jwt_jwks_file",
    "jwt_jwks_url",
    "slot",
    "slot_name",
    "publication",
    "catalog_poll_ms",
    "policy_mirror_bytes_max",
    "ask_timeout_ms",
];

impl<const WHICH: u8> SettingFlags<WHICH> {
    /// These flags over environment, file and defaults.
    pub(super) fn resolve(&self) -> Result<Resolved, Problem> {
        Ok(Sources::collect(self.values.clone(), self.config.as_deref())?.resolve())
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| match WHICH {
            DATABASE => setting.kind == Kind::DatabaseUrl,
            LISTEN => setting.kind == Kind::Address,
            SECRET => setting.name == "jwt_secret",
            TOOLS => TOOL_SETTINGS.contains(&setting.name),
            _ => true,
        })
    }
}

impl<const WHICH: u8> FromArgMatches for SettingFlags<WHICH> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in Self::settings() {
            if let Some(text) = matches.get_one::<String>(setting.name) {
                self.values.insert(setting.name, text.clone());
            }
        }
        self.config = matches.get_one::<PathBuf>("config").cloned().or(self.config.take());
        Ok(())
    }
}

impl<const WHICH: u8> Args for SettingFlags<WHICH> {
    fn augment_args(command: Command) -> Command {
        let command = command.arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("TOML file with settings [env: ROWCAST_CONFIG]"),
        );
        Self::settings().fold(command, |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &Setting) -> Arg {
    let value = match setting.kind {
        Kind::Address | Kind::OptionalAddress => "ADDRESS",
        Kind::DatabaseUrl => "URL",
        Kind::Secret => "SECRET",
        Kind::Tokens => "TOKENS",
        Kind::ApiKeys(_) => "KEYS",
        Kind::Object | Kind::KeySet => "JSON",
        Kind::KeySetUrl | Kind::Url => "URL",
        Kind::Names | Kind::Roles => "NAMES",
        Kind::Path => "FILE",
        Kind::Identifier | Kind::Label => "NAME",
        Kind::PublicUrl => "URL",
        Kind::PublicKey => "KEY",
        Kind::Apps => "NAMES",
        Kind::OneOf(_) => "WORD",
        Kind::Boolean => "true|false",
        Kind::Integer(..) => "NUMBER",
    };
    let entry = reference::entry(setting.name);
    let mut help = entry.map_or("", |entry| entry.comment.trim_end_matches('.')).to_owned();
    if let Some(default) = entry.map(reference::Entry::default_text).filter(|text| !text.is_empty()) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let variable = match setting.kind {
        Kind::DatabaseUrl => "DATABASE_URL".to_owned(),
        _ => setting.environment(),
    };
    help.push_str(&format!(" [env: {variable}]"));
    // What everybody sets comes first; the rest stands under its module's name.
    let heading = match (setting.group, setting.name) {
        ("server" | "postgres", _) | (_, "jwt_secret") => None,
        (group, _) => Some(format!("Settings of {group}")),
    };
    let arg = Arg::new(setting.name).long(setting.flag()).value_name(value).help(help);
    heading.map_or(arg.clone(), |heading| arg.help_heading(heading))
}
