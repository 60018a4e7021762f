//! What holds for all examples: their types, their pages and their settings.

use std::process::Command;

use super::{examples, folder};
use crate::stage::server::{stderr, stdout};

/// How long a program may be: a screen, and a little more for those with a protocol of their own.
const LINES_MAX: usize = 120;

/// Every folder with a program in it.
fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("main.ts").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn types_are_strict() {
    let tsc = examples().join("node_modules/.bin/tsc");
    let output = Command::new(tsc).arg("--project").arg(examples()).output().unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let settings = std::fs::read_to_string(examples().join("tsconfig.json")).unwrap();
    assert!(settings.contains("\"strict\": true"), "{settings}");
}

#[test]
fn every_setting_is_explained_and_every_explained_setting_is_read() {
    let steps = std::fs::read_to_string(examples().join("steps.ts")).unwrap();
    for name in names() {
        let program = std::fs::read_to_string(folder(&name).join("main.ts")).unwrap();
        let mut read: Vec<&str> = [steps.as_str(), &program].iter().flat_map(|text| settings(text)).collect();
        read.sort_unstable();
        read.dedup();
        let explained = std::fs::read_to_string(folder(&name).join(".env.example")).unwrap();
        let mut explained: Vec<&str> = explained
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.split_once('=')?.0))
            .collect();
        explained.sort_unstable();
        assert_eq!(read, explained, "{name}");
    }
}

/// The names that a program asks the environment for.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    text.split("setting('").skip(1).filter_map(|rest| Some(rest.split_once('\'')?.0))
}

#[test]
fn every_example_takes_three_commands_and_few_lines() {
    for name in names() {
        let page = std::fs::read_to_string(folder(&name).join("README.md")).unwrap();
        let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        assert!(blocks.flat_map(str::lines).count() <= 3, "{name}");
        let program = std::fs::read_to_string(folder(&name).join("main.ts")).unwrap();
        assert!(program.starts_with("// "), "{name} does not say what it is for");
        assert!(program.lines().count() <= LINES_MAX, "{name} is no longer read at a glance");
    }
}

#[test]
fn every_example_is_listed_where_readers_look() {
    let root = std::fs::read_to_string(examples().join("../README.md")).unwrap();
    let list = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let manifest = std::fs::read_to_string(examples().join("package.json")).unwrap();
    for name in names() {
        assert!(root.contains(&format!("(examples/{name}/README.md)")), "README.md lacks {name}");
        assert!(list.contains(&format!("({name}/README.md)")), "examples/README.md lacks {name}");
        assert!(manifest.contains(&format!("\"{name}\": ")), "examples/package.json lacks {name}");
    }
}
