//! Clocks of machines may be minutes apart: nothing that decides who owns what, or when, reads one.
//!
//! The sources are looked at, since a process whose clock is wrong needs libfaketime or a namespace of time, and the suite installs neither.

use std::path::Path;

use walkdir::WalkDir;

/// Where the program reads the machine's clock, and why nothing is decided by it.
const READS: [(&str, &str); 8] = [
    ("clients/aws/rds.rs", "the time that a token for RDS is signed for, which AWS checks"),
    ("http/problem.rs", "the time that an error answer shows"),
    ("http/auth/mod.rs", "how long a right lasts that was given by the clock of somebody else: an issuer of tokens"),
    ("clients/github.rs", "how long to wait when GitHub names a time instead of seconds"),
    ("http/maintenance/mod.rs", "when the next run is shown to be due"),
    ("http/reports/answer.rs", "what the last days are of which a question is asked"),
    ("maintenance/mod.rs", "when to look for what is too old; whether it is, and whose turn it is, says the database"),
    ("telemetry/traces.rs", "a time of the database, as OpenTelemetry's library takes it"),
];

#[test]
fn the_machines_clock_is_read_only_where_nothing_is_decided_by_it() {
    let mut found = reads();
    found.retain(|file| !file.starts_with("sandbox/") && !file.starts_with("cli/"));
    found.sort();
    let mut allowed: Vec<&str> = READS.iter().map(|(file, _)| *file).collect();
    allowed.sort_unstable();
    assert_eq!(found, allowed, "use the database's clock, or `tokio::time::Instant` for how long something took here");
}

#[test]
fn heartbeats_and_claims_take_no_time_from_the_program() {
    let text = std::fs::read_to_string(root().join("db/ownership.rs")).unwrap();
    assert!(text.contains("heartbeat_at = clock_timestamp()") && !text.contains("DateTime"), "a time of the machine's");
}

/// Files below `src` that name a way to read the machine's clock, tests aside.
fn reads() -> Vec<String> {
    let root = root();
    sources()
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let program = text.split("#[cfg(test)]").next().unwrap_or_default();
            ["Utc::now", "Local::now", "SystemTime", "UNIX_EPOCH"].iter().any(|read| program.contains(read))
        })
        .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
        .collect()
}

fn sources() -> Vec<std::path::PathBuf> {
    let files = WalkDir::new(root()).into_iter().map(|entry| entry.unwrap().into_path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    assert!(!files.is_empty());
    files
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
