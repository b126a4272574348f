//! The modules of `src` and of the workspace's crates: which may use which (the table in docs/architecture.md), and that none use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use panda_testing::rust_functions::{called_methods, writing_methods};
use panda_testing::rust_imports::{Imports, joins_errors, read};

/// Modules that any other may use: empty without their feature.
const ANYWHERE: &str = "failpoints";

/// Writes that belong to a reader and that no caller requests: the first read after a log filter's end deletes its row, and the reader of the feed
/// repairs the order of events that were restored from another cluster.
const WRITES_OF_READERS: [&str; 2] = ["log_filter", "repair_event_order"];

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A module's path, from its path in the document or the file system: `src/http/sse/` is `http::sse`.
fn module(path: &str) -> String {
    path.trim_start_matches("src/").trim_end_matches('/').trim_end_matches(".rs").replace('/', "::")
}

/// Returns true if `path` is `module` or inside it.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Modules that each module of the table may use. A module inside another has its own row only where other rules apply to it.
fn rules(top: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let document = include_str!("../../../docs/architecture.md");
    let mut rules = BTreeMap::new();
    for row in document.lines().filter(|line| line.starts_with("| `src/")) {
        let cells: Vec<&str> = row.trim_matches('|').rsplitn(2, " | ").collect();
        let named: BTreeSet<String> = quoted(cells[0]).map(module).collect();
        let allowed = match cells[0].trim() {
            "everything" => top.clone(),
            text if text.starts_with("everything but ") => top - &named,
            _ => named,
        };
        for path in quoted(cells[1].split(" | ").next().unwrap()) {
            rules.insert(module(path), allowed.clone());
        }
    }
    rules
}

fn source(folder: &str) -> Imports {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

#[test]
fn layers__each_module_uses_only_what_the_architecture_allows() {
    let imports = source("src");
    let top: BTreeSet<String> =
        imports.modules().filter(|name| !name.is_empty() && !name.contains("::")).map(str::to_owned).collect();
    let rules = rules(&top);
    assert!(top.iter().all(|name| rules.contains_key(name)), "a module is not in the table: {top:?}");
    let mut wrong = Vec::new();
    for (from, to) in imports.uses() {
        let Some((module, allowed)) = rules.iter().rev().find(|(module, _)| is_within(from, module)) else { continue };
        let fine = joins_errors(from, to)
            || is_within(to, module)
            // Items of a module around it.
            || to.is_empty()
            || is_within(from, to)
            || is_within(to, ANYWHERE)
            || allowed.iter().any(|allowed| is_within(to, allowed));
        if !fine {
            wrong.push(format!("{from} uses {to}"));
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md does not allow these:\n{}", wrong.join("\n"));
}

#[test]
fn layers__rules_of_the_table_name_modules_that_exist() {
    let imports = source("src");
    let modules: BTreeSet<&str> = imports.modules().collect();
    let rules = rules(&modules.iter().filter(|name| !name.contains("::")).map(|name| (*name).to_owned()).collect());
    let named = rules.iter().flat_map(|(module, allowed)| std::iter::once(module).chain(allowed));
    let unknown: BTreeSet<&String> = named.filter(|name| !modules.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn layers__no_modules_import_each_other_in_a_circle() {
    for folder in ["src", "crates/sandbox/src", "crates/dev-services/src"] {
        let circles = source(folder).circles();
        assert!(circles.is_empty(), "{folder}: {circles:#?}");
    }
}

#[test]
fn layers__http_writes_through_commands_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut writing = writing_methods(&source.join("db"));
    assert!(WRITES_OF_READERS.iter().all(|name| writing.remove(*name)), "the list of exceptions is outdated");
    let called = called_methods(&source.join("http"));
    let wrong: Vec<&String> = called.intersection(&writing).collect();
    assert!(wrong.is_empty(), "src/http calls methods of `Db` that write; move them to src/commands: {wrong:?}");
}

#[test]
fn layers__circle_between_folders_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "mod x;"),
        ("a/x.rs", "use crate::{c, b::{y::Y, z}};"),
        ("b/mod.rs", "mod y; mod z;"),
        ("b/y.rs", "pub struct Y;"),
        ("b/z.rs", "fn f() { println!(\"{}\", super::super::a::x::N); }"),
        ("c.rs", "#[cfg(test)] mod tests { use super::super::a; }"),
    ];
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(read(folder.path()).circles(), BTreeSet::from(["a, b".to_owned()]));
}
