//! Clocks of machines may be minutes apart: no decision about ownership or time reads one.
//!
//! The test inspects the sources, because a process with a wrong clock needs libfaketime or a time namespace, and the suite installs neither.

use std::path::Path;

use walkdir::WalkDir;

/// Uses of the machine's clock, each with the reason why no decision depends on it.
const READS: [(&str, &str); 17] = [
    ("clients/aws/rds.rs", "the signing time of an RDS token, which AWS checks"),
    ("http/error/problem.rs", "the timestamp in an error answer"),
    ("http/auth/mod.rs", "the expiry of a grant that an external issuer of tokens set by its clock"),
    ("clients/github/answer.rs", "how long to wait when GitHub names a time instead of seconds"),
    ("clients/github/app.rs", "the times in the assertion of an App, which GitHub checks by its clock"),
    ("http/auth/oidc/sign_in.rs", "the end of a sign-in that a browser has begun, which its cookie holds"),
    ("http/page/history/mod.rs", "the period of a view over the last days"),
    ("commands/connect/aws/preflight/looks.rs", "the beginning of a list that only shows that the call is permitted"),
    ("http/page/policies/rules.rs", "the displayed openings of a window"),
    ("http/page/tokens.rs", "whether a token is displayed as expired"),
    ("http/routes/maintenance/mod.rs", "the displayed time of the next run"),
    ("http/routes/reports/answer.rs", "the period of a report over the last days"),
    (
        "background/retention/mod.rs",
        "the time of the next retention check; age and ownership are decided by the database",
    ),
    ("steps/await_switch.rs", "the beginning of a wait at CodeDeploy, where AWS does not tell it"),
    ("steps/roll_back.rs", "the time at which the traffic was seen on blue, for reports"),
    ("steps/rollout.rs", "the same, when the deployment becomes ready"),
    ("telemetry/traces.rs", "a database time, converted for OpenTelemetry's library"),
];

#[test]
fn clock__machine_time_decides_nothing() {
    let mut found = reads();
    found.retain(|file| !file.starts_with("cli/"));
    found.sort();
    let mut allowed: Vec<&str> = READS.iter().map(|(file, _)| *file).collect();
    allowed.sort_unstable();
    assert_eq!(found, allowed, "use the database's clock, or `tokio::time::Instant` for durations within the process");
}

#[test]
fn clock__heartbeats_and_claims_use_database_time() {
    let text = std::fs::read_to_string(root().join("db/ownership.rs")).unwrap();
    assert!(text.contains("heartbeat_at = clock_timestamp()") && !text.contains("DateTime"), "a machine time");
}

/// Files below `src`, without tests, that name a way to read the machine's clock.
fn reads() -> Vec<String> {
    let root = root();
    sources()
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let program = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
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
