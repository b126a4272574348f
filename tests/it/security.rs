//! Documents that name the test of a promise name existing tests.

use std::path::Path;

use walkdir::WalkDir;

/// All texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Documents with a table of tests, the heading of its column, and the fewest tests that it names.
const TABLES: [(&str, &str, usize); 3] = [
    ("SECURITY.md", "the test that shows it", 20),
    ("docs/streaming.md", "covered by", 10),
    ("docs/aws.md", "covered by", 20),
];

#[test]
fn documents__name_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests/it"].into_iter().flat_map(|folder| WalkDir::new(root.join(folder)));
    let sources: Vec<(String, String)> = sources
        .filter_map(|entry| {
            Some(entry.unwrap().into_path()).filter(|path| path.extension().is_some_and(|end| end == "rs"))
        })
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    for (document, column, fewest) in TABLES {
        let page = std::fs::read_to_string(root.join(document)).unwrap();
        let (_, table) = page.split_once(column).unwrap();
        let names: Vec<&str> = quoted(table).filter(|name| name.contains("::")).collect();
        assert!(names.len() >= fewest, "{document}: {}", names.len());
        for name in names {
            assert!(sources.iter().any(|source| holds(source, name)), "{document} names {name}, which does not exist");
        }
    }
}

/// Returns whether a source file (path and text) holds this test, or is this module.
fn holds((path, text): &(String, String), name: &str) -> bool {
    let (module, claim) = name.trim_end_matches("::").rsplit_once("::").unwrap();
    let module = module.trim_end_matches("::tests").replace("::", "/");
    let is_file =
        path.ends_with(&format!("{module}/{claim}.rs")) || path.ends_with(&format!("{module}/{claim}/mod.rs"));
    is_file || (path.contains(&module) && text.contains(&format!("fn {claim}(")))
}
