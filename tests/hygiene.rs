//! What keeps the source readable and the documents true: who may use whom, how long a file may be, and the like.

use std::fs;
use std::path::Path;

/// What each module may not use: other modules and crates. A new module needs its line here.
const MAY_NOT_USE: &[(&str, &[&[&str]])] = &[
    ("limits", &[&["crate", "tokio::"]]),
    // The engine: bytes and time in, bytes and events out.
    ("ssh", &[IO, TLS, API_CLIENT, TOOLS, LAYERS, SUPERVISOR]),
    ("relay", &[TLS, API_CLIENT, &["crate::tls", "crate::target", "crate::api", "crate::state"], SUPERVISOR]),
    ("tls", &[API_CLIENT, &["crate::ssh", "crate::relay", "crate::target", "crate::api", "crate::state"], SUPERVISOR]),
    ("target", &[API_CLIENT, &["crate::ssh", "crate::relay", "crate::api", "crate::state"], SUPERVISOR]),
    ("api", &[&["tokio::", "crate::ssh", "crate::relay", "crate::tls", "crate::target", "crate::state"], SUPERVISOR]),
    ("state", &[&["tokio::"], TLS, API_CLIENT, LAYERS, SUPERVISOR]),
    ("config", &[&["tokio::"], TLS, API_CLIENT, LAYERS, SUPERVISOR]),
    // Tools that know none of the layers.
    ("budget", &[IO, LAYERS, SUPERVISOR]),
    ("bundle", &[LAYERS, SUPERVISOR]),
    ("calendar", &[LAYERS, SUPERVISOR]),
    ("chain", &[LAYERS, SUPERVISOR, &["tokio::"]]),
    ("clock", &[LAYERS, SUPERVISOR]),
    ("cpu", &[IO, LAYERS, SUPERVISOR]),
    ("der", &[LAYERS, SUPERVISOR]),
    ("domain", &[LAYERS, SUPERVISOR]),
    ("escape", &[LAYERS, SUPERVISOR]),
    ("exit", &[LAYERS, SUPERVISOR]),
    ("logging", &[LAYERS, SUPERVISOR]),
    ("pool", &[LAYERS, SUPERVISOR]),
    ("provider", &[LAYERS, SUPERVISOR, &["tokio::"]]),
    ("proxy", &[IO, LAYERS, SUPERVISOR]),
    ("room", &[LAYERS, SUPERVISOR]),
    ("roots", &[LAYERS, SUPERVISOR, &["tokio::"]]),
    ("sdnotify", &[LAYERS, SUPERVISOR]),
    ("secret", &[LAYERS, SUPERVISOR]),
    ("syntax", &[LAYERS, SUPERVISOR]),
    ("wheel", &[LAYERS, SUPERVISOR]),
    // What puts the layers together.
    ("supervisor", &[]),
    ("doctor", &[SUPERVISOR]),
    ("status", &[SUPERVISOR]),
    ("cli", &[]),
    ("main", &[]),
    ("lib", &[]),
];

const IO: &[&str] = &["tokio::", "socket2::", "std::net", "std::fs", "std::os", "std::thread", "std::time"];
const TLS: &[&str] = &["rustls::", "webpki::", "webpki_roots::"];
const API_CLIENT: &[&str] = &["ureq::"];
const TOOLS: &[&str] = &["crate::bundle", "crate::clock", "crate::config", "crate::logging"];
const LAYERS: &[&str] = &["crate::ssh", "crate::relay", "crate::tls", "crate::target", "crate::api", "crate::state"];
const SUPERVISOR: &[&str] = &["crate::supervisor", "crate::cli"];

/// A file is one idea and fits a reader's head.
const LINES_MAX: usize = 600;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of the agent.
struct Source {
    /// Its path, `src/` left out.
    name: String,
    text: String,
}

impl Source {
    /// All files, in all folders.
    fn all() -> Vec<Source> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut sources) = (vec![top.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder of the source") {
                let path = entry.expect("an entry of the folder").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&top).expect("a path below src").to_string_lossy().into_owned();
                    sources.push(Source { name, text: read(&path) });
                }
            }
        }
        assert!(sources.iter().any(|source| source.name == "lib.rs"), "this is not the source");
        sources
    }

    /// The module of the crate's root that it belongs to.
    fn module(&self) -> &str {
        self.name.split(['/', '.']).next().unwrap_or_default()
    }

    /// How deep its own module lies: 1 for those of the crate's root.
    fn depth(&self) -> usize {
        self.name.split('/').filter(|part| *part != "mod.rs").count()
    }

    /// Its lines with their numbers: without comments, and without tests, which may use what they like.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let of_tests = self.name.split(['/', '.']).any(|part| part == "tests");
        let text = if of_tests { "" } else { &self.text };
        let tests = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
        let end = tests.iter().filter_map(|head| text.find(head)).min().unwrap_or(text.len());
        let code = text.get(..end).unwrap_or_default();
        (1..).zip(code.lines().map(|line| line.split("//").next().unwrap_or_default()))
    }
}

/// Whether `line` has `path`, and not as a part of a longer word.
fn names(line: &str, path: &str) -> bool {
    let word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(path).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + path.len()..]);
        !before.ends_with(word) && (path.ends_with(':') || !after.starts_with(word))
    })
}

#[test]
fn every_module_uses_only_what_it_may() {
    let mut found = Vec::new();
    for source in Source::all() {
        let module = source.module();
        let rule = MAY_NOT_USE.iter().find(|(name, _)| *name == module);
        let Some((_, groups)) = rule else { panic!("the module {module} is missing in the table of tests/hygiene.rs") };
        let own = format!("crate::{module}");
        for (number, line) in source.code() {
            for path in groups.iter().copied().flatten().filter(|path| **path != own) {
                if names(line, path) {
                    found.push(format!("{}:{number}: {module} may not use {path}", source.name));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The test above reads line by line: it must not miss a module that is named in two parts.
#[test]
fn paths_name_their_module_in_one_piece() {
    for source in Source::all() {
        let restricted = MAY_NOT_USE.iter().any(|(name, groups)| *name == source.module() && !groups.is_empty());
        for (number, line) in source.code().filter(|_| restricted) {
            for tree in ["use crate::{", "use std::{"] {
                assert!(!line.contains(tree), "{}:{number}: one line for each module", source.name);
            }
            let out_of_module = "super::".repeat(source.depth());
            assert!(!line.contains(&out_of_module), "{}:{number}: crate:: leads out of a module", source.name);
        }
    }
}

#[test]
fn the_scan_finds_what_it_looks_for() {
    for line in ["use tokio::net::TcpStream;", "    tokio::spawn(x)", "x(::tokio::spawn)"] {
        assert!(names(line, "tokio::"), "{line}");
    }
    for line in ["use crate::api;", "use crate::api::Api;", "f(crate::api::X)"] {
        assert!(names(line, "crate::api"), "{line}");
    }
    for line in ["use crate::apiary::X;", "use my_tokio::x;", "let tokio = 1;"] {
        assert!(!names(line, "crate::api") && !names(line, "tokio::"), "{line}");
    }
}

#[test]
fn files_are_short() {
    for source in Source::all() {
        let lines = source.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", source.name);
    }
}

#[test]
fn nothing_is_unsafe_and_nothing_is_left_for_later() {
    for source in Source::all() {
        for (number, line) in (1..).zip(source.text.lines()) {
            let words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
            for word in words {
                assert!(
                    !["unsafe", "TODO", "FIXME", "XXX", "HACK"].contains(&word),
                    "{}:{number}: {word}",
                    source.name
                );
            }
        }
    }
}

/// Shipped builds print nothing for `Debug` (cross/build, `-Zfmt-debug=none`): a message made by it would lose its words there.
#[test]
fn no_message_is_made_by_debug() {
    for source in Source::all() {
        for (number, line) in source.code() {
            for mark in [":?}", ":#?}"] {
                assert!(!line.contains(mark), "src/{}:{number}: `{mark}` in a message", source.name);
            }
        }
    }
}

#[test]
fn every_limit_is_explained() {
    let limits = read("src/limits.rs");
    let mut explained = false;
    let mut count = 0;
    for line in limits.lines().map(str::trim) {
        if line.starts_with("pub const ") {
            assert!(explained, "src/limits.rs: no doc comment above `{line}`");
            count += 1;
        }
        // Attributes may stand between a comment and its constant.
        explained = line.starts_with("///") || explained && line.starts_with("#[");
    }
    assert!(count > 20, "only {count} limits were found");
}

#[test]
fn the_readme_names_the_oldest_rust() {
    let manifest = read("Cargo.toml");
    let version =
        manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    let named = format!("Rust {version} or later");
    assert!(read("README.md").contains(&named), "README.md does not say `{named}`");
}
