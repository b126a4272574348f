//! `scripts/release.sh dry-run`: the files of a release, from this build's program. It makes everything twice and compares the bytes.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{release, shown, succeeds, version};
use crate::support::panda::Panda;
use panda_testing::Program as _;
use panda_testing::helm::helm3;
use panda_testing::root;

/// Files of users that every archive must have.
const MEMBERS: [&str; 16] = [
    "panda",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "install.md",
    "panda.env.example",
    "completions/panda.bash",
    "completions/panda.zsh",
    "completions/panda.fish",
    "man/man1/panda.1",
    "man/man1/panda-deploy.1",
    "packaging/panda.service",
    "packaging/panda.env",
    "packaging/compose.yaml",
    "packaging/ecs/task-definition.json",
    "sbom.cdx.json",
];

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// The files of the dry run, in `out`.
fn made() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = release(&["dry-run", Panda::path().to_str().unwrap(), out.to_str().unwrap()]);
    // Speed matters here, not size.
    let output = command.env("RELEASE_GZIP_LEVEL", "1").output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("the same bytes twice"), "{}", shown(&output));
    folder
}

/// Members of a tar.gz with their modes; each belongs to root and has the time of the commit.
fn members(archive: &Path) -> BTreeMap<String, u32> {
    let mut plain = Vec::new();
    let program = Command::new("gzip").args(["--decompress", "--stdout"]).arg(archive).output().unwrap();
    plain.extend(program.stdout);
    let (mut members, mut times) = (BTreeMap::new(), Vec::new());
    for entry in tar::Archive::new(&*plain).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.username().unwrap(), Some(""), "no name of the building machine");
        times.push(header.mtime().unwrap());
        members.insert(entry.path().unwrap().to_str().unwrap().to_owned(), header.mode().unwrap() & 0o777);
    }
    let commit = succeeds(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]));
    times.dedup();
    assert_eq!(times, [commit.trim().parse::<u64>().unwrap()]);
    members
}

#[test]
fn release_files__complete_checked_and_reproducible() {
    let folder = made();
    let out = folder.path().join("out");
    let name = format!("panda-{}-{}", version(), target());
    let members = members(&out.join(format!("{name}.tar.gz")));
    for member in MEMBERS {
        let mode = members.get(&format!("{name}/{member}")).unwrap_or_else(|| panic!("no {member}: {members:?}"));
        assert_eq!(*mode, if member == "panda" { 0o755 } else { 0o644 }, "{member}");
    }
    program_and_completions(&out, &name);
    bill_of_materials(&out.join(format!("{name}.cdx.json")));
    let chart = out.join(format!("panda-{}.tgz", version()));
    let about = helm3(&["show", "chart", chart.to_str().unwrap()]);
    assert!(shown(&about).contains(&format!("\nversion: {}\n", version())), "{}", shown(&about));
    let chart = self::members(&chart);
    assert!(
        chart.contains_key("panda/values.schema.json") && !chart.keys().any(|name| name.starts_with("panda/ci/")),
        "{chart:?}"
    );

    let sums = std::fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    let listed: Vec<&str> = sums.lines().map(|line| line.split_once(" *").unwrap().1).collect();
    let chart = format!("panda-{}.tgz", version());
    let client = format!("panda-deploy-client-{}.tgz", version());
    let package = std::fs::read_to_string(root().join("clients/js/package.json")).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    let events = format!("panda-deploy-events-{}.tgz", package["version"].as_str().unwrap());
    assert_eq!(listed, [&format!("{name}.cdx.json"), &format!("{name}.tar.gz"), &chart, &client, &events]);
    packages(&out.join(client), &["dist/index.js", "dist/index.d.ts", "package.json", "LICENSE", "README.md"]);
    packages(&out.join(events), &["src/index.js", "src/index.d.ts", "package.json", "LICENSE", "README.md"]);
    std::fs::write(out.join(&chart), "changed").unwrap();
    let changed = Command::new("sha256sum").current_dir(&out).args(["--check", "SHA256SUMS"]).output().unwrap();
    assert!(!changed.status.success() && shown(&changed).contains(&format!("{chart}: FAILED")), "{}", shown(&changed));
}

/// A package of npm has what its users import, and none of its tests.
fn packages(file: &Path, needed: &[&str]) {
    let listed = succeeds(Command::new("tar").arg("--list").arg("--gzip").arg("--file").arg(file));
    for member in needed {
        assert!(listed.lines().any(|line| line == format!("package/{member}")), "{member} is missing: {listed}");
    }
    assert!(!listed.contains("test/") && !listed.contains("node_modules"), "{listed}");
}

/// The program in the archive runs, and shells accept the completions.
fn program_and_completions(out: &Path, name: &str) {
    succeeds(
        Command::new("tar").current_dir(out).arg("--extract").arg("--gzip").arg("--file").arg(format!("{name}.tar.gz")),
    );
    let folder = out.join(name);
    assert_eq!(succeeds(Command::new(folder.join("panda")).arg("--version")), format!("panda {}\n", version()));
    succeeds(Command::new("bash").arg("-n").arg(folder.join("completions/panda.bash")));
    let page = std::fs::read_to_string(folder.join("man/man1/panda-deploy.1")).unwrap();
    assert!(page.contains(".TH panda-deploy 1"), "{page}");
    let pages = std::fs::read_dir(folder.join("man/man1")).unwrap().count();
    assert!(pages > 20, "{pages} man pages");
}

/// The list of components names the program's crates, and nothing of this machine.
fn bill_of_materials(file: &Path) {
    let mut text = String::new();
    std::fs::File::open(file).unwrap().read_to_string(&mut text).unwrap();
    assert!(!text.contains(root().to_str().unwrap()), "the checkout's path");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(list["metadata"]["component"]["version"], version());
    let components = list["components"].as_array().unwrap();
    for name in ["tokio", "sqlx", "aws-lc-rs", "git2", "panda-sandbox"] {
        let found = components.iter().find(|component| component["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} among {}", components.len()));
        assert!(found["purl"].as_str().unwrap().starts_with("pkg:cargo/") && found["licenses"].is_array(), "{found:#}");
    }
    assert!(!components.iter().any(|component| component["name"] == "panda-testing"), "only what is in the program");
    succeeds(
        Command::new(panda_testing::helm::installed("bin/python"))
            .arg("-B")
            .arg(root().join("tests/it/release/components.py"))
            .arg(file),
    );
}

#[test]
fn release_script__unknown_commands_and_targets_refused() {
    for (args, because) in [
        (&["relase"][..], "unknown command \"relase\""),
        (&[], "unknown command \"\""),
        (&["build", "x86_64-pc-windows-msvc"], "no release for x86_64-pc-windows-msvc"),
        (&["static", Panda::path().to_str().unwrap()], "needs a loader or libraries: ["),
    ] {
        let output = release(args).output().unwrap();
        assert!(!output.status.success() && shown(&output).contains(because), "{args:?}: {}", shown(&output));
    }
}

#[test]
fn image_root__static_program_brings_no_library() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("image-root");
    succeeds(Command::new(root().join("scripts/image-root.sh")).arg("/bin/busybox").arg(&made));
    let mut folders: Vec<_> = std::fs::read_dir(&made).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["etc", "tmp", "usr"]);
    assert!(made.join("etc/ssl/certs/ca-certificates.crt").exists());
}
