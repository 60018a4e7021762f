//! The commands on the pages: `rowcast dev` as they start it, and the examples with the settings that it writes.

use std::path::Path;

use super::{finish, folder, tsx};
use crate::dev::Dev;
use crate::support::scratch;

/// Starts what these examples' pages say, and runs them as they say.
async fn follow(names: &[&str]) {
    let directory = scratch("examples-dev");
    let commands: Vec<Vec<String>> = names.iter().map(|name| arguments_of_dev(name)).collect();
    assert!(commands.iter().all(|command| *command == commands[0]), "{commands:?}");
    let arguments: Vec<&str> = commands[0].iter().map(String::as_str).collect();
    let dev = Dev::start(&directory, &arguments);
    for name in names {
        let mut command = tokio::process::Command::new(tsx());
        command.arg(format!("--env-file={}", directory.join("env").display()));
        finish(command.arg(folder(name).join("main.ts"))).await.expect_page(name);
    }
    dev.stop().await;
}

/// What a page starts `rowcast dev` with; a file is meant from the root of the repository.
fn arguments_of_dev(name: &str) -> Vec<String> {
    let page = std::fs::read_to_string(folder(name).join("README.md")).unwrap();
    let line =
        page.lines().find_map(|line| line.strip_prefix("target/release/rowcast dev ")).expect("a command");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let argument = |word: &str| match word.strip_prefix("examples/") {
        Some(_) => root.join(word).display().to_string(),
        None => word.to_owned(),
    };
    line.split(' ').map(argument).collect()
}

#[tokio::test]
async fn own_tables_of_a_coaching_app_as_its_page_says() {
    follow(&["ipec-own-tables"]).await;
}

#[tokio::test]
async fn own_tables_of_a_tutoring_app_as_its_page_says() {
    follow(&["tutorconnect-own-tables"]).await;
}

#[tokio::test]
async fn messaging_examples_one_after_the_other_as_their_pages_say() {
    follow(&["school", "pitchey", "messaging-infrastructure", "tutorconnect", "ipec"]).await;
}
