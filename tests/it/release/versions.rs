//! `scripts/release.sh check`: a release has one version, a tag on main, a clean tree and a section in the changelog.

use std::path::PathBuf;
use std::process::{Command, Output};

use panda_testing::root;
use tempfile::TempDir;

use super::{shown, succeeds, version};

/// A repository with the files that name a version, in which everything agrees on a tagged release.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for file in Self::files() {
            let to = tree.0.path().join(&file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(root().join(&file), to).unwrap();
        }
        let heading = format!("## [Unreleased]\n\n## [{}] - 2026-12-01\n", version());
        tree.replace("CHANGELOG.md", "## [Unreleased]\n", &heading);
        tree.git(&["init", "--quiet", "--initial-branch=main"]);
        tree.commit();
        tree.git(&["tag", &Self::tag()]);
        tree
    }

    fn files() -> Vec<PathBuf> {
        let crates = std::fs::read_dir(root().join("crates")).unwrap();
        let crates = crates.map(|entry| PathBuf::from("crates").join(entry.unwrap().file_name()).join("Cargo.toml"));
        let others = [
            "Cargo.toml",
            "Cargo.lock",
            "CHANGELOG.md",
            "benches/Cargo.toml",
            "clients/typescript/package.json",
            "helm/panda/Chart.yaml",
            "scripts/release.sh",
        ];
        crates.chain(others.map(PathBuf::from)).collect()
    }

    fn tag() -> String {
        format!("v{}", version())
    }

    fn git(&self, args: &[&str]) -> String {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        succeeds(Command::new("git").current_dir(self.0.path()).args(identity).args(args))
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=Change"]);
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.0.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(self.0.path().join("scripts/release.sh")).args(args).output().unwrap()
    }

    fn refused(&self, tag: &str, because: &str) {
        let output = self.run(&["check", tag]);
        assert_eq!(output.status.code(), Some(1), "{because}: {}", shown(&output));
        assert!(shown(&output).contains(because), "{because}: {}", shown(&output));
    }
}

#[test]
fn release_check__tagged_version_accepted() {
    let tree = Tree::new();
    let output = tree.run(&["check", &Tree::tag()]);
    assert!(output.status.success(), "{}", shown(&output));
    // Without a tag, a changed tree and an unreleased version are no problem.
    tree.replace("CHANGELOG.md", version(), "9.9.9");
    let output = tree.run(&["check"]);
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn release_check__other_tags_refused() {
    let tree = Tree::new();
    tree.refused("v9.9.9", &format!("the tag v9.9.9 is not v{}, for the version in Cargo.toml", version()));
    tree.refused("v9.9.9", "there is no tag v9.9.9");
    for tag in ["9.9.9", "v9.9", "v9.9.9;id", "release"] {
        tree.refused(tag, &format!("the tag must be vMAJOR.MINOR.PATCH: {tag}"));
    }
    tree.replace("CHANGELOG.md", "# Changelog", "# Log");
    tree.refused(&Tree::tag(), "the tree is not as committed:  M CHANGELOG.md");
    tree.commit();
    tree.refused(&Tree::tag(), "git checkout v");
    tree.git(&["checkout", "--quiet", &Tree::tag()]);
    tree.git(&["update-ref", "refs/remotes/origin/main", "main"]);
    assert!(tree.run(&["check", &Tree::tag()]).status.success());
    let unrelated = tree.git(&["commit-tree", "HEAD^{tree}", "-m", "Elsewhere"]);
    tree.git(&["update-ref", "refs/remotes/origin/main", unrelated.trim()]);
    tree.refused(&Tree::tag(), "is not on main");
}

#[test]
fn release_check__each_other_version_refused() {
    let quoted = format!("\"{}\"", version());
    let chart = |key: &str| format!("\n{key}: {}", version());
    let lock = format!("name = \"panda-sandbox\"\nversion = {quoted}");
    for (file, from, to, what) in [
        ("crates/sandbox/Cargo.toml", &quoted, "\"9.9.9\"", "crates/sandbox/Cargo.toml: version"),
        ("benches/Cargo.toml", &quoted, "\"9.9.9\"", "benches/Cargo.toml: version"),
        ("helm/panda/Chart.yaml", &chart("version"), "\nversion: 9.9.9", "helm/panda/Chart.yaml: version"),
        ("helm/panda/Chart.yaml", &chart("appVersion"), "\nappVersion: 9.9.9", "helm/panda/Chart.yaml: appVersion"),
        (
            "clients/typescript/package.json",
            &format!("\"version\": {quoted}"),
            "\"version\": \"9.9.9\"",
            "clients/typescript/package.json: version",
        ),
        ("Cargo.lock", &lock, "name = \"panda-sandbox\"\nversion = \"9.9.9\"", "Cargo.lock: \"panda-sandbox\""),
    ] {
        let tree = Tree::new();
        tree.replace(file, from, to);
        tree.refused("", &format!("{what} is not {}, the version in Cargo.toml", version()));
    }
}

#[test]
fn release_check__changelog_without_section_refused() {
    let heading = format!("## [{}] - 2026-12-01\n", version());
    let undated = format!("## [{}]\n", version());
    for (to, because) in [
        ("", format!("CHANGELOG.md has no heading ## [{}] - YYYY-MM-DD", version())),
        (&*undated, format!("CHANGELOG.md has no heading ## [{}] - YYYY-MM-DD", version())),
        (
            &*format!("{heading}\n## [0.0.1] - 2020-01-01\n"),
            format!("CHANGELOG.md has nothing below ## [{}]", version()),
        ),
    ] {
        let tree = Tree::new();
        tree.replace("CHANGELOG.md", &heading, to);
        tree.refused(&Tree::tag(), &because);
    }
}

#[test]
fn release_notes__are_the_section_of_the_version() {
    let tree = Tree::new();
    let below =
        format!("## [{}] - 2026-12-01\n\n- This one.\n\n## [0.0.1] - 2020-01-01\n\n- An older one.\n", version());
    tree.replace("CHANGELOG.md", &format!("## [{}] - 2026-12-01\n", version()), &below);
    assert_eq!(succeeds(Command::new(tree.0.path().join("scripts/release.sh")).arg("notes")), "- This one.\n");
}
