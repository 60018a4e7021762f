//! `rowcast serve`: the server itself.

use crate::config::Settings;
use crate::{server, telemetry};
use tracing::{info, warn};

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

pub(super) fn run(arguments: Arguments) -> Result<(), Error> {
    let settings = arguments.flags.resolve()?.settings()?;
    telemetry::log::install(settings.log.level.as_str(), settings.log.format == LogFormat::Json);
    warn_if_open(&settings);
    block_on(async {
        let ready = |address| info!(%address, "serving");
        Signals::catch()?
            .run(|stopped| {
                server::run(settings, ready, async {
                    // Its sender goes away only with this process.
                    let _ = stopped.await;
                    info!("shutting down");
                })
            })
            .await
    })
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
