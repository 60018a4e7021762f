//! The shape of the code base: what the compiler and the linter do not hold.
//!
//! Files are read as plain text, which is enough for code that rustfmt has laid out. Every test reports all of
//! its findings at once, each with the file and the line. Lists of exceptions give a reason for each.
//!
//! Two tests of this kind live beside what they hold: `protocol/code.rs` compares `docs/errors.md`, and
//! `config/tests.rs` compares `docs/configuration.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules without I/O, async runtime, clock or randomness; and such files of modules that have them.
const PURE: &[&str] = &[
    "src/change/",
    "src/policy/",
    "src/subscription/",
    "src/channel/",
    "src/protocol/",
    "src/wal/lsn.rs",
    "src/wal/pgoutput.rs",
    "src/wal/tuple.rs",
];

/// The dependencies that pure modules may use: none of them does I/O, waits, or asks for the time.
const PURE_CRATES: &[&str] =
    &["bytes", "memchr", "serde", "serde_json", "slab", "smallvec", "thiserror", "uuid"];

/// What pure modules may not take from the standard library.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "RandomState",
    "new_v4",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::thread",
];

/// The longest a file may be, in lines.
const LINES_MAX: usize = 700;

/// Queues without a bound, by what their constructors are called.
const UNBOUNDED: &[&str] = &["unbounded_channel", "unbounded(", "std::sync::mpsc", "UnboundedSender"];

/// What has no place in a finished, public tree: marks of unfinished work, and paths of one machine.
///
/// Each is written in two parts, so that this file does not contain it.
const OUT_OF_PLACE: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

/// Folders that are not the code base.
const FOREIGN: &[&str] = &[".git", ".rowcast", "artifacts", "corpus", "node_modules", "target"];

/// A file of this repository.
struct File {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
}

impl File {
    /// The lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines of code with their numbers: without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The lines of code before the module of tests, which by custom stands last.
    fn code_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("#[cfg(test)]\nmod tests");
        let end = tests.map_or(usize::MAX, |at| self.text[..at].lines().count());
        self.code().take_while(move |(number, _)| *number <= end)
    }

    /// The names of the modules that it is inside of, itself included: `hub/lane.rs` is `hub`, `lane`.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|name| !["lib", "main", "mod"].contains(name)).collect()
    }

    /// The folder that it stands in.
    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files under `folder` with one of these endings (all, if there are none), in the order of their paths.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !FOREIGN.contains(&name) {
                    folders.push(path);
                }
            } else if endings.is_empty() || endings.iter().any(|ending| name.ends_with(ending)) {
                let relative = path.strip_prefix(root()).expect("a path below the root");
                // What is no text has no shape to hold.
                if let Ok(text) = fs::read_to_string(&path) {
                    found.push(File { path: relative.display().to_string(), text });
                }
            }
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(!found.is_empty(), "no file under {folder:?}");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All findings of one test.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: &File, line: usize, what: impl std::fmt::Display) {
        self.0.push(format!("{}:{line}: {what}", file.path));
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The parts of `line` right after each `word` that stands alone.
fn after_word<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let continues = |character: char| character.is_alphanumeric() || character == '_' || character == '$';
    line.match_indices(word)
        .filter(move |(at, _)| !line[..*at].ends_with(continues))
        .map(move |(at, _)| &line[at + word.len()..])
}

/// The name at the start of `text`; empty if there is none.
fn name(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The modules in the order of `lib.rs`.
fn stages() -> Vec<String> {
    let declared = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    read("src/lib.rs").lines().filter_map(declared).collect()
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]).iter().chain(&files("tests", &[".rs"])) {
        if !file.text.starts_with("//! ") {
            findings.add(file, 1, "opens without a `//!` line");
        }
    }
    for file in files("sql", &[".sql"]).iter().chain(&files("migrations", &[".sql"])) {
        if !file.text.starts_with("-- ") {
            findings.add(file, 1, "opens without a `--` line");
        }
    }
    findings.none();
}

#[test]
fn a_module_imports_only_from_modules_before_it() {
    let stages = stages();
    let place = |module: &str| stages.iter().position(|stage| stage == module);
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]) {
        let modules = file.modules();
        let Some(own) = modules.first().and_then(|module| place(module)) else { continue };
        let mut imports = Vec::new();
        let code: Vec<_> = file.code().collect();
        for (position, (number, line)) in code.iter().enumerate() {
            for rest in after_word(line, "crate::") {
                if rest.starts_with('{') {
                    let group: String =
                        code[position..].iter().flat_map(|(_, line)| [line.trim(), " "]).collect();
                    imports.extend(grouped(&group).into_iter().map(|module| (*number, module)));
                } else {
                    imports.push((*number, name(rest).to_owned()));
                }
            }
        }
        for (number, module) in imports {
            match place(&module) {
                Some(other) if other > own => findings.add(
                    &file,
                    number,
                    format_args!("`{}` comes before `{module}` in src/lib.rs", stages[own]),
                ),
                Some(_) => {}
                None => {
                    findings.add(&file, number, format_args!("`crate::{module}` is no module of src/lib.rs"))
                }
            }
        }
        // Paths to the root are spelled `crate::`, so that the rule above sees them.
        let to_root = "super::".repeat(modules.len());
        for (number, line) in file.code_without_tests() {
            if after_word(line, &to_root).next().is_some() {
                findings.add(&file, number, format_args!("write `crate::` in place of `{to_root}`"));
            }
        }
    }
    findings.none();
}

/// The modules that `use crate::{…}` names.
fn grouped(text: &str) -> Vec<String> {
    let start = text.find("crate::{").map_or(0, |at| at + "crate::".len());
    let mut modules = Vec::new();
    let mut depth = 0;
    for (at, character) in text[start..].char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(character, '{' | ',') {
            modules.push(name(text[start + at + 1..].trim_start()).to_owned());
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn the_picture_of_the_path_shows_the_modules_in_their_order() {
    let stages = stages();
    for page in ["src/lib.rs", "ARCHITECTURE.md", "README.md"] {
        let text = read(page);
        let picture = text.lines().find(|line| line.contains("wal ─▶")).unwrap_or_else(|| panic!("{page}"));
        let shown: Vec<&str> = picture.trim_start_matches("//!").split("─▶").map(str::trim).collect();
        let listed: Vec<&str> =
            stages.iter().map(String::as_str).filter(|stage| shown.contains(stage)).collect();
        assert_eq!(shown, listed, "{page}");
    }
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let manifest = read("Cargo.toml");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).expect("a list of dependencies");
    let dependencies = dependencies.lines().take_while(|line| !line.starts_with('['));
    let forbidden: Vec<String> = dependencies
        .map(|line| name(&line.replace('-', "_")).to_owned())
        .filter(|name| !name.is_empty() && !PURE_CRATES.contains(&name.as_str()))
        .map(|name| format!("{name}::"))
        .chain(IMPURE.iter().map(|path| (*path).to_owned()))
        .collect();
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]) {
        if !PURE.iter().any(|pure| file.path.starts_with(pure)) || file.path.ends_with("/tests.rs") {
            continue;
        }
        for (number, line) in file.code_without_tests() {
            for path in forbidden.iter().filter(|path| after_word(line, path).next().is_some()) {
                findings.add(&file, number, format_args!("a pure module uses `{path}`"));
            }
        }
    }
    findings.none();
}

#[test]
fn every_queue_has_a_bound() {
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]) {
        for (number, line) in file.code() {
            for word in UNBOUNDED.iter().filter(|word| line.contains(**word)) {
                findings.add(&file, number, format_args!("`{word}` has no bound"));
            }
        }
    }
    findings.none();
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]).iter().chain(&files("tests", &[".rs"])) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            findings.add(file, lines, format_args!("longer than {LINES_MAX} lines"));
        }
    }
    findings.none();
}

#[test]
fn no_file_is_dead() {
    let mut findings = Findings::default();
    let sources = files("src", &[".rs"]);
    let source = |path: &str| sources.iter().find(|file| file.path == path);
    for file in &sources {
        let stem = file.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let (folder, module) = stem.rsplit_once('/').expect("a folder");
        if folder == "src" && ["lib", "main"].contains(&module) {
            continue;
        }
        let parent = match folder {
            "src" => "src/lib.rs".to_owned(),
            folder => format!("{folder}/mod.rs"),
        };
        let declares = |line: &str| line.trim_end().ends_with(&format!("mod {module};"));
        if !source(&parent).is_some_and(|parent| parent.code().any(|(_, line)| declares(line))) {
            findings.add(file, 1, format_args!("{parent} does not declare it"));
        }
    }
    for query in files("sql/queries", &[".sql"]) {
        if !sources.iter().any(|file| file.text.contains(&query.path)) {
            findings.add(&query, 1, "nothing includes it");
        }
    }
    findings.none();
}

#[test]
fn every_exception_to_a_lint_has_a_reason() {
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]).iter().chain(&files("tests", &[".rs"])) {
        let code: Vec<_> = file.code().collect();
        for (position, (number, line)) in code.iter().enumerate() {
            let opens = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
            if !opens.iter().any(|open| line.trim_start().starts_with(open)) {
                continue;
            }
            let attribute: Vec<&str> = code[position..].iter().map(|(_, line)| *line).collect();
            let attribute = attribute.join(" ");
            let end = attribute.find(")]").unwrap_or(attribute.len());
            if !attribute[..end].contains("reason = ") {
                findings.add(file, *number, "an exception without a reason");
            }
        }
    }
    findings.none();
}

#[test]
fn tests_are_named_by_what_they_claim() {
    let mut findings = Findings::default();
    for file in files("src", &[".rs"]).iter().chain(&files("tests", &[".rs"])) {
        let code: Vec<_> = file.code().collect();
        for (attribute, function) in code.iter().zip(code.iter().skip(1)) {
            if attribute.1.trim_end().ends_with("test]")
                && after_word(function.1, "fn test_").next().is_some()
            {
                findings.add(file, function.0, "a test is named by its claim, without `test_`");
            }
        }
    }
    findings.none();
}

#[test]
fn nothing_unfinished_and_no_private_path_is_in_the_tree() {
    let mut findings = Findings::default();
    for file in files("", &[]) {
        // A worktree has a file where a checkout has the folder.
        if [".git", "Cargo.lock"].contains(&file.path.as_str()) {
            continue;
        }
        for (number, line) in file.lines() {
            for words in OUT_OF_PLACE.iter().filter(|words| line.contains(**words)) {
                findings.add(&file, number, format_args!("`{words}` does not belong here"));
            }
        }
    }
    findings.none();
}

/// The pages of documentation, each with its lines outside code blocks.
fn pages() -> Vec<(File, Vec<(usize, String)>)> {
    let prose = |file: File| {
        let mut inside = false;
        let lines = file.lines().filter(|(_, line)| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        });
        let lines = lines.map(|(number, line)| (number, line.to_owned())).collect();
        (file, lines)
    };
    let pages = files("", &[".md"]).into_iter();
    pages.filter(|file| file.folder().is_empty() || file.folder() == "docs").map(prose).collect()
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let mut findings = Findings::default();
    for (page, lines) in pages() {
        for (number, line) in lines {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
                if target.contains("://") {
                    continue;
                }
                let whole = if path.is_empty() {
                    root().join(&page.path)
                } else {
                    root().join(page.folder()).join(path)
                };
                if !whole.exists() {
                    findings.add(&page, number, format_args!("no file {path}"));
                } else if !anchor.is_empty() && !headings(&whole).contains(anchor) {
                    findings.add(&page, number, format_args!("no heading #{anchor} in {}", whole.display()));
                }
            }
        }
    }
    findings.none();
}

/// The anchors of a page's headings, as code hosts derive them.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    titles
        .map(|title| title.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_source_file_that_the_documentation_names_exists() {
    let mut findings = Findings::default();
    let known: Vec<String> = files("", &[]).into_iter().map(|file| file.path).collect();
    for (page, lines) in pages() {
        for (number, line) in lines {
            for quoted in line.split('`').skip(1).step_by(2) {
                let is_path = [".rs", ".sql"].iter().any(|ending| quoted.ends_with(ending))
                    && !quoted.contains([' ', '<', '*', '…']);
                let exists = |path: &String| *path == quoted || path.ends_with(&format!("/{quoted}"));
                if is_path && !known.iter().any(exists) {
                    findings.add(&page, number, format_args!("no file {quoted}"));
                }
            }
        }
    }
    findings.none();
}

#[test]
fn every_text_of_an_error_is_in_the_source() {
    // A string that goes on in the next line is one string.
    let unbroken = |text: &str| {
        let lines: Vec<&str> = text.split("\\\n").collect();
        let rest = lines.iter().skip(1).map(|line| line.trim_start());
        lines.first().copied().into_iter().chain(rest).collect::<String>()
    };
    let sources: String = files("src", &[".rs"]).iter().map(|file| unbroken(&file.text)).collect();
    let page = files("docs", &["errors.md"]).remove(0);
    let mut findings = Findings::default();
    let mut column = None;
    for (number, line) in page.lines() {
        if !line.starts_with('|') {
            column = None;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(column) = column else {
            column = cells.iter().position(|cell| ["text", "reason"].contains(cell));
            continue;
        };
        let text = cells.get(column).copied().unwrap_or_default();
        let parts = text
            .split('…')
            .map(str::trim)
            .filter(|part| !["", "–"].contains(part) && !part.starts_with("--"));
        for part in parts.filter(|part| !sources.contains(*part)) {
            findings.add(&page, number, format_args!("nothing says {part:?}"));
        }
    }
    findings.none();
}

#[test]
fn documentation_has_one_sentence_a_line() {
    let mut findings = Findings::default();
    for (page, lines) in pages() {
        for (number, line) in lines.iter().filter(|(_, line)| !line.starts_with('|')) {
            // The number of a list's item ends like a sentence.
            let item = line.trim_start_matches(|character: char| character.is_ascii_digit());
            let line = item.strip_prefix(". ").unwrap_or(line);
            let ends = [". ", "? ", "! "].iter().flat_map(|end| line.match_indices(end));
            let mut starts = ends.filter_map(|(at, _)| line[at + 2..].chars().next());
            if starts.any(char::is_uppercase) {
                findings.add(&page, *number, "two sentences on a line");
            }
        }
    }
    findings.none();
}
