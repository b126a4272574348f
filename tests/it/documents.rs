//! Links in the documents lead to existing files and headings.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Folders of third parties, or not written for people.
const FOREIGN_FOLDERS: [&str; 5] = ["node_modules", "target", ".cache", ".git", ".github"];

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = |entry: &DirEntry| !FOREIGN_FOLDERS.iter().any(|name| entry.file_name() == *name);
    let files =
        WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(ours).map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

/// The text without code blocks, whose examples contain no links.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || ['-', '_'].contains(c)).collect()
}

/// Resolves `..`, as a reader's browser does.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normalized.pop()),
            part => normalized.push(part),
        }
    }
    normalized
}

#[test]
fn links__lead_to_existing_files_and_headings() {
    let texts: BTreeMap<PathBuf, String> =
        documents().into_iter().map(|path| (path.clone(), prose(&std::fs::read_to_string(&path).unwrap()))).collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (path, text) in &texts {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links
            .filter(|link| !link.contains("://") && !link.starts_with("mailto:") && !link.contains(char::is_whitespace))
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { path.clone() } else { normalized(&path.parent().unwrap().join(file)) };
            let headings = texts.get(&to).map(|text| {
                text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')))
            });
            let is_there = to.exists()
                && (heading.is_empty() || headings.is_some_and(|mut all| all.any(|known| known == heading)));
            checked += 1;
            if !is_there {
                wrong.push(format!("{}: {link}", path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display()));
            }
        }
    }
    assert!(checked > 100, "{checked}");
    assert!(wrong.is_empty(), "broken links:\n{}", wrong.join("\n"));
}
