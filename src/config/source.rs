//! Where settings come from: flags, environment, file, defaults; and which of them wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::check::Problem;
use super::reference;
use super::setting::{Kind, SETTINGS, Setting};

/// Everything that was given, unread and unchecked.
#[derive(Default)]
pub struct Sources {
    /// Settings given as flags, by name.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The file, if any: its path and its text.
    pub file: Option<(PathBuf, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag.
    Flag(String),
    /// An environment variable; several where they make one value together.
    Environment(String),
    /// The file.
    File(PathBuf),
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Environment(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The text of one setting and where it came from.
#[derive(Clone)]
pub struct Given {
    /// The value as text; empty means not set.
    pub text: String,
    /// Its source.
    pub origin: Origin,
}

/// What every setting is, still as text, and what is wrong with the sources themselves.
pub struct Resolved {
    /// The winning value of every setting.
    pub values: BTreeMap<&'static str, Given>,
    /// Unknown names, unreadable files, and wrong values that a stronger source hid.
    pub problems: Vec<Problem>,
}

impl Sources {
    /// Reads the environment of this process, and the file that `config` or ROWCAST_CONFIG names.
    pub fn collect(flags: BTreeMap<&'static str, String>, config: Option<&Path>) -> Result<Self, Problem> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = environment.get("ROWCAST_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let file = match config.map(Path::to_owned).or(named) {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(error) => {
                    let origin = Origin::File(path);
                    return Err(Problem::new("config", origin, format!("could not read the file: {error}")));
                }
            },
        };
        Ok(Self { flags, environment, file })
    }

    /// Lays the sources over each other.
    pub fn resolve(&self) -> Resolved {
        let mut problems = Vec::new();
        let layers = [
            self.flag_layer(),
            self.own_layer(&mut problems),
            self.stock_layer(),
            self.file_layer(&mut problems),
        ];
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            let mut given = layers.iter().filter_map(|layer| layer.get(setting.name)).cloned();
            let winner = given.next().unwrap_or_else(|| default(setting));
            // A value that another one hides is wrong all the same, unless it is a stock variable,
            // which may be there for another program.
            for hidden in given.filter(|hidden| !is_stock(setting, &hidden.origin)) {
                problems.extend(super::check::problem(setting, &hidden));
            }
            values.insert(setting.name, winner);
        }
        Resolved { values, problems }
    }

    fn flag_layer(&self) -> BTreeMap<&'static str, Given> {
        let flag = |name: &str| Origin::Flag(name.replace('_', "-"));
        self.flags
            .iter()
            .map(|(&name, text)| (name, Given { text: text.clone(), origin: flag(name) }))
            .collect()
    }

    fn own_layer(&self, problems: &mut Vec<Problem>) -> BTreeMap<&'static str, Given> {
        let mut layer = BTreeMap::new();
        for (variable, text) in &self.environment {
            let Some(rest) = variable.strip_prefix("ROWCAST_") else { continue };
            if is_foreign(rest) {
                continue;
            }
            let origin = Origin::Environment(variable.clone());
            match Setting::named(&rest.to_ascii_lowercase())
                .filter(|setting| &setting.environment() == variable)
            {
                // Compose files pass on unset variables as empty ones.
                Some(_) if text.is_empty() => {}
                Some(setting) => {
                    layer.insert(setting.name, Given { text: text.clone(), origin });
                }
                None => {
                    let names = SETTINGS.iter().map(Setting::environment);
                    problems.push(Problem::unknown(variable, origin, names));
                }
            }
        }
        layer
    }

    /// The variables of the stock container, where our own are absent.
    fn stock_layer(&self) -> BTreeMap<&'static str, Given> {
        let mut layer = BTreeMap::new();
        for setting in SETTINGS {
            let Some((variable, text)) =
                setting.stock.iter().find_map(|&name| Some((name, self.variable(name)?)))
            else {
                continue;
            };
            let given = match (setting.name, variable) {
                ("database_url", name) if name != "DATABASE_URL" => self.database_from_parts(),
                // The stock container serves its network; that is what PORT is set for.
                ("listen", _) => Some((format!("0.0.0.0:{text}"), variable)),
                ("slot_name", _) => Some((format!("rowcast_{text}"), variable)),
                ("log_level", _) => Some((log_level(text).to_owned(), variable)),
                _ => Some((text.to_owned(), variable)),
            };
            if let Some((text, variable)) = given {
                layer.insert(setting.name, Given { text, origin: Origin::Environment(variable.to_owned()) });
            }
        }
        layer
    }

    /// One URL from DB_HOST and its companions; DB_HOST is what says that they are meant.
    fn database_from_parts(&self) -> Option<(String, &'static str)> {
        let part = |name: &str, otherwise: &str| {
            let text = self.variable(name).unwrap_or(otherwise);
            utf8_percent_encode(text, URL_PART).to_string()
        };
        let host = self.variable("DB_HOST")?;
        // An address of version 6 stands in brackets in a URL.
        let host = if host.contains(':') { format!("[{host}]") } else { part("DB_HOST", "") };
        let mut url = format!(
            "postgres://{}:{}@{host}:{}/{}",
            part("DB_USER", "supabase_admin"),
            part("DB_PASSWORD", "postgres"),
            self.variable("DB_PORT").unwrap_or("5432"),
            part("DB_NAME", "postgres"),
        );
        match (self.variable("DB_SSL"), self.variable("DB_SSL_CA_CERT")) {
            (Some("true"), Some(_)) => {
                url.push_str("?sslmode=verify-full&sslrootcert=");
                url.push_str(&part("DB_SSL_CA_CERT", ""));
            }
            (Some("true"), None) => url.push_str("?sslmode=require"),
            (Some("false"), _) => url.push_str("?sslmode=disable"),
            (None, _) => {}
            // Not a word of the stock container's: let the check of the URL name it.
            (Some(other), _) => url.push_str(&format!("?sslmode={other}")),
        }
        Some((url, "DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME, DB_SSL"))
    }

    fn file_layer(&self, problems: &mut Vec<Problem>) -> BTreeMap<&'static str, Given> {
        let mut layer = BTreeMap::new();
        let Some((path, text)) = &self.file else { return layer };
        let origin = Origin::File(path.clone());
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // The full error quotes the line, which may hold a secret.
                let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                let message = format!("line {line} is not valid TOML: {}", error.message());
                problems.push(Problem::new("config", origin, message));
                return layer;
            }
        };
        for (key, value) in table {
            let Some(setting) = Setting::named(&key) else {
                let names = SETTINGS.iter().map(|setting| setting.name.to_owned());
                problems.push(Problem::unknown(&key, origin.clone(), names));
                continue;
            };
            let text = match (setting.kind, value) {
                (Kind::Integer(..), toml::Value::Integer(number)) => number.to_string(),
                (Kind::Boolean, toml::Value::Boolean(value)) => value.to_string(),
                (Kind::Integer(..) | Kind::Boolean, _) => {
                    problems.push(Problem::expected(setting, origin.clone(), None));
                    continue;
                }
                (_, toml::Value::String(text)) => text,
                _ => {
                    let message = format!("expected {}, in quotes", setting.kind.expectation());
                    problems.push(Problem::new(setting.name, origin.clone(), message));
                    continue;
                }
            };
            layer.insert(setting.name, Given { text, origin: origin.clone() });
        }
        layer
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }
}

/// Everything but what needs no escape anywhere in a URL.
const URL_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn default(setting: &Setting) -> Given {
    let text = reference::entry(setting.name).map_or_else(String::new, reference::Entry::default_text);
    Given { text, origin: Origin::Default }
}

fn is_stock(setting: &Setting, origin: &Origin) -> bool {
    matches!(origin, Origin::Environment(variable) if *variable != setting.environment())
}

/// Variables that begin with ROWCAST_ and are no settings: the file's name, the tests' switches, and what
/// Kubernetes and Docker set for a service that happens to be called "rowcast".
fn is_foreign(rest: &str) -> bool {
    rest == "CONFIG"
        || rest == "PORT"
        || ["TEST_", "PORT_", "SERVICE_", "ENV_"].iter().any(|prefix| rest.starts_with(prefix))
}

/// The stock container's levels are Elixir's.
fn log_level(text: &str) -> &str {
    match text {
        "warning" => "warn",
        "notice" => "info",
        "critical" | "alert" | "emergency" => "error",
        other => other,
    }
}
