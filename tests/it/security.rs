//! SECURITY.md names an existing test for each mitigation.

use std::path::Path;

use walkdir::WalkDir;

/// All texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn security_page__names_existing_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests/it"].into_iter().flat_map(|folder| WalkDir::new(root.join(folder)));
    let sources: Vec<(String, String)> = sources
        .filter_map(|entry| {
            Some(entry.unwrap().into_path()).filter(|path| path.extension().is_some_and(|end| end == "rs"))
        })
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = page.split_once("the test that shows it").unwrap();
    let mut named = 0;
    for name in quoted(table).filter(|name| name.contains("::")) {
        let (module, test) = name.trim_end_matches("::").rsplit_once("::").unwrap();
        // A name may be a whole module.
        let found = sources.iter().any(|(path, text)| {
            let of_module = path.contains(&module.trim_end_matches("::tests").replace("::", "/"));
            let is_file =
                path.ends_with(&format!("{module}/{test}.rs")) || path.ends_with(&format!("{module}/{test}/mod.rs"));
            (of_module && text.contains(&format!("fn {test}("))) || is_file
        });
        assert!(found, "SECURITY.md names {name}, which does not exist");
        named += 1;
    }
    assert!(named > 20, "{named}");
}
