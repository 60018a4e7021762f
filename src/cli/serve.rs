//! `rowcast serve`: the server itself.

use crate::config::Settings;
use crate::{server, telemetry};
use tracing::{info, warn};

use crate::postgres::connect::Database;
use crate::postgres::migrate::{self, migrate};
use crate::telemetry::log::chain;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

use super::flags::{ALL, SettingFlags};
use super::signals::Signals;
use super::{Error, block_on};
use crate::config::LogFormat;

/// Serve realtime clients beside an existing Postgres
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: SettingFlags<ALL>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast serve --database-url postgres://rowcast:secret@db/app --jwt-secret \"$JWT_SECRET\"
  DATABASE_URL=postgres://… ROWCAST_JWT_SECRET=… rowcast serve --listen 0.0.0.0:4000
  rowcast serve --config /etc/rowcast.toml

Every setting is a flag, a variable and a line of the file; the flag wins, then the variable, then the file.
The variables of the stock Supabase realtime container (PORT, DB_HOST, API_JWT_SECRET, …) are understood, too.
A secret on the command line can be read by everybody on the machine; variables and files are better places.
SIGTERM or Ctrl-C closes every socket in order; a second one ends at once.";

/// The pause after the first attempt to reach the database; it doubles from one to the next.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(arguments: Arguments) -> Result<(), Error> {
    let resolved = arguments.flags.resolve()?;
    let unmet = resolved.unmet.join(", ");
    let settings = resolved.settings()?;
    telemetry::log::install(settings.log.level.as_str(), settings.log.format == LogFormat::Json);
    warn_if_open(&settings);
    if !unmet.is_empty() {
        warn!(variables = unmet, "set, but without an effect here: see docs/configuration.md");
    }
    raise_file_limit(settings.socket.connections_max);
    block_on(async {
        let ready = |address| info!(%address, "serving");
        Signals::catch()?
            .run(async move |mut stopped| {
                if settings.migrate_on_start {
                    tokio::select! {
                        migrated = migrate_in_time(&settings.database) => migrated?,
                        _ = &mut stopped => return Ok(()),
                    }
                }
                let shutdown = async {
                    // Its sender goes away only with this process.
                    let _ = stopped.await;
                    info!("shutting down");
                };
                server::run(settings, ready, shutdown).await.map_err(Error::from)
            })
            .await
    })
}

/// Every socket is an open file; the usual soft limit of 1024 is from times when that was many.
fn raise_file_limit(connections_max: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    // Some systems call their hard limit infinite and take no such soft one; then it stays as it is.
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    if u64::try_from(connections_max).is_ok_and(|connections| limit < connections) {
        warn!(limit, connections_max, "fewer files may be open than sockets: raise the limit (`ulimit -Hn`)");
    }
}

/// Waits for the database as long as it takes, and brings it to this version's schema.
async fn migrate_in_time(database: &Database) -> Result<(), Error> {
    let mut pause = PAUSE_MIN;
    let report = loop {
        match migrate(database, &[]).await {
            Ok(report) => break report,
            Err(migrate::Error::Connect(error)) => {
                warn!(error = chain(&error), remedy = error.remedy(), "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = PAUSE_MAX.min(pause * 2);
            }
            Err(error) => return Err(error.into()),
        }
    };
    for notice in &report.notices {
        info!(notice, "remark on a migration");
    }
    info!(applied = report.applied.len(), "the schema is up to date");
    Ok(())
}

/// A key copied from documentation protects nothing.
fn warn_if_open(settings: &Settings) {
    const KNOWN: [&str; 2] = [
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "super-secret-jwt-token-with-at-least-32-characters-long",
    ];
    let is_known = settings.auth.jwt_secret.as_ref().is_some_and(|secret| KNOWN.contains(&secret.expose()));
    if is_known && !settings.listen.ip().is_loopback() {
        warn!("jwt_secret is the one printed in documentation: anybody can make valid tokens");
    }
}
