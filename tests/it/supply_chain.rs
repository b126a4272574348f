//! Inputs of builds and tests are pinned by version and hash: images by digest, packages of Python and Node by their hashes, tools by exact version.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;
use walkdir::WalkDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn has_digest(image: &str) -> bool {
    image.rsplit_once("@sha256:").is_some_and(|(name, digest)| {
        !name.is_empty()
            && digest.len() == 64
            && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// The images that a Dockerfile starts from, with the defaults of its arguments.
fn bases(dockerfile: &str) -> Vec<String> {
    let arguments: Vec<(&str, &str)> =
        dockerfile.lines().filter_map(|line| line.strip_prefix("ARG ")?.split_once('=')).collect();
    let filled = |name: &str| {
        let argument = name.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
        let default = argument.map(|name| arguments.iter().find(|(known, _)| *known == name).unwrap().1);
        default.unwrap_or(name).to_owned()
    };
    let (mut stages, mut bases) = (Vec::new(), Vec::new());
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !stages.contains(&words[0]) {
            bases.push(filled(words[0]));
        }
        stages.extend(words.get(2));
    }
    bases
}

#[test]
fn dockerfile__base_images_pinned_by_digest() {
    let ours = bases(&text("Dockerfile"));
    assert_eq!(ours.len(), 2, "{ours:?}");
    assert!(ours.iter().all(|base| base == "scratch" || has_digest(base)), "{ours:?}");
    for (tag, fine) in
        [("rust:1", false), ("rust@sha256:ab", false), (&format!("rust:1@sha256:{}", "a".repeat(64)), true)]
    {
        assert_eq!(has_digest(tag), fine, "{tag}");
    }
}

#[test]
fn chart__foreign_images_pinned_by_digest() {
    let image = Regex::new(r#"(?m)^[ -]*image: *"?([^ "{}\n]+)"? *$"#).unwrap();
    let mut seen = 0;
    for file in WalkDir::new(root().join("tests/it/chart/golden")).into_iter().map(Result::unwrap) {
        if file.path().extension().is_some_and(|ending| ending == "yaml") {
            for found in image.captures_iter(&text(file.path())) {
                let name = &found[1];
                let ours = name.contains("/panda:") || name.contains("/panda@");
                assert!(ours || has_digest(name), "{}: {name}", file.path().display());
                seen += usize::from(!ours);
            }
        }
    }
    assert!(seen >= 2, "the sidecar and Postgres: {seen}");
}

#[test]
fn packages__python_and_node_installed_by_hash() {
    let mut lists = 0;
    for file in std::fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with("requirements.txt") {
            lists += 1;
            let list = text(&file);
            for package in list.split('\n').filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()) {
                assert!(package.contains("==") && package.ends_with('\\'), "{name}: {package}");
                let next = list.split_once(package).unwrap().1.trim_start();
                assert!(next.starts_with("--hash=sha256:"), "{name}: {package}");
            }
            for wanted in text(file.with_extension("in")).lines() {
                let package = wanted.split(['=', '[']).next().unwrap();
                assert!(
                    list.contains(&format!("\n{package}==")) || list.starts_with(&format!("{package}==")),
                    "{name}: {package}"
                );
            }
        }
    }
    assert_eq!(lists, 6);
    for lock in [
        "scripts/chart-package-lock.json",
        "clients/js/package-lock.json",
        "clients/typescript/package-lock.json",
        "benches/peers/graphile/package-lock.json",
        "benches/peers/better-sse/package-lock.json",
    ] {
        let packages: Value = serde_json::from_str(&text(lock)).unwrap();
        for (name, package) in packages["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty()) {
            let hash = package["integrity"].as_str().unwrap_or_default();
            assert!(package["link"] == true || hash.starts_with("sha512-"), "{lock}: {name}");
        }
    }
}

#[test]
fn scripts__download_only_immutable_files() {
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(root().join("scripts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|ending| ending == "sh"));
    scripts.extend([root().join(".ci/run"), root().join("Makefile"), root().join("Dockerfile")]);
    for path in scripts {
        let (name, text) = (path.display(), text(&path).replace("\\\n", " "));
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')) {
            assert!(!(line.contains("curl") && line.contains("| sh")), "{name} runs what it downloads: {line}");
            if line.contains("pip\" install") || line.contains("pip install") {
                assert!(line.contains("--require-hashes") || line.contains("uv=="), "{name}: {line}");
            }
            assert!(!line.contains("npm install") && !line.contains("npm i "), "{name} has no lock: {line}");
            let versions = line
                .split("--version ")
                .skip(1)
                .filter(|_| line.contains("cargo_tool") || line.contains("cargo install"));
            for version in versions {
                assert!(version.starts_with("'="), "{name} installs the newest version: {line}");
            }
            if line.contains("curl ") && line.contains("https://") {
                assert!(text.contains("sha256sum --check"), "{name} checks no hash: {line}");
            }
        }
    }
}

#[test]
fn workflows__actions_pinned_by_commit() {
    let uses = Regex::new(r"(?m)^[ -]*uses: *([^ \n]+)").unwrap();
    let commit = Regex::new("@[0-9a-f]{40}$").unwrap();
    let folder = root().join(".github");
    for file in WalkDir::new(folder).into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
        for found in uses.captures_iter(&text(file.path())) {
            let action = &found[1];
            assert!(action.starts_with("./") || commit.is_match(action), "{}: {action}", file.path().display());
        }
    }
}
