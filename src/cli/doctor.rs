//! `rowcast doctor`: what is wrong with a database, and the SQL that mends it.

use std::fmt::Write as _;

use crate::config::{Settings, Slot};
use crate::hub::doctor::{Plan, Report, State, examine};
use crate::hub::explain::Scope;

use super::flags::{SettingFlags, TOOLS};
use super::{Error, block_on, print, say};

/// Check a database, and print the SQL that mends what is wrong
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Look at the policies of this role, too; may be given again
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags<TOOLS>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast doctor --database-url postgres://rowcast:secret@db/app
  DATABASE_URL=postgres://… rowcast doctor --role editor
  rowcast doctor --json | jq '.checks[] | select(.state != \"ok\")'

Give it the database URL that the server has: it looks at that role's rights. It looks at the version and settings of
Postgres, the role, the schema, the slot, the publications, each published table, each policy (is it decided in memory
or asked of Postgres, and why), the tables that policies read, and limits. It changes nothing.

  ok       as it should be
  warning  it works, but costs more, or shows more or less, than it might
  problem  something does not work

What stands under a line mends it: SQL to paste, where … is for you to fill in.
The policies are those of anon, authenticated, service_role, of all roles that policies name, and of --role.

Exit code 0 means that there is no problem, warnings or not; 1 that there is one, or that the database could not be
read; 2 that the command line or a setting is wrong.";

/// Sessions of ordinary SQL besides those that ask: catalog, mirror, lag, maintenance, and the stream's own.
const SESSIONS_BESIDES: usize = 6;

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let settings = arguments.flags.resolve()?.settings_without_keys()?;
    let plan = plan(settings, arguments.role.clone());
    block_on(async {
        let report = examine(&plan, |step| say(format_args!("{step} …"))).await?;
        print(if arguments.json {
            serde_json::to_string_pretty(&report).map_err(|error| Error::failed(&error))?
        } else {
            text(&report)
        });
        match report.count(State::Problem) {
            0 => Ok(()),
            1 => Err(found("1 problem was found")),
            count => Err(found(&format!("{count} problems were found"))),
        }
    })
}

fn found(text: &str) -> Error {
    Error { text: text.to_owned(), remedy: None, usage: false }
        .help("what stands under each of them mends it")
}

fn plan(settings: Settings, roles: Vec<String>) -> Plan {
    let channel = &settings.channel;
    let limit = |limit: u64| if limit == 0 { "no limit".to_owned() } else { limit.to_string() };
    let limits = format!(
        "sockets {}, users {}, joins a second {}, broadcasts a second {} (connections_max, concurrent_users_max, \
         joins_per_second_max, events_per_second_max)",
        settings.socket.connections_max,
        limit(channel.concurrent_users_max),
        limit(channel.joins_per_second_max),
        limit(channel.events_per_second_max),
    );
    Plan {
        durable_slot: (settings.wal.slot == Slot::Durable).then_some(settings.wal.slot_name),
        catalog_poll: settings.policy.catalog_poll,
        sessions: settings.hub.ask_connections + settings.hub.authorization_connections + SESSIONS_BESIDES,
        limits,
        roles,
        token_roles: settings.auth.roles,
        scope: Scope {
            database: settings.database,
            publication: settings.wal.publication,
            mirror_bytes_max: settings.policy.mirror_bytes_max,
            ask_timeout: settings.hub.ask_timeout,
        },
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut area = "";
    for check in &report.checks {
        if area != check.area {
            let _ = writeln!(text, "{}{}", if area.is_empty() { "" } else { "\n" }, check.area);
            area = check.area;
        }
        let state = match check.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        let _ = writeln!(text, "  {state:<9}{}", check.text);
        for line in check.fix.iter().flat_map(|fix| fix.lines()) {
            let _ = writeln!(text, "           {line}");
        }
    }
    let counts = [("problems", State::Problem), ("warnings", State::Warning), ("ok", State::Ok)]
        .map(|(name, state)| format!("{name} {}", report.count(state)));
    let _ = write!(text, "\n{}", counts.join(", "));
    text
}
