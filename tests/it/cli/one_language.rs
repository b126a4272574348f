//! Every command in both languages: no English sentence in a Korean terminal, and no Korean in an English one.
//!
//! Names stay as they are: of members, codes, commands, options, cron expressions and versions. So do texts from outside, such as the line of a build
//! that failed; `clap`'s usage errors and `--help` are English in every terminal.

use std::time::Duration;

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role, Scope};
use tokio::time::timeout;

use super::{panda, run};
use crate::http::Fixture;
use crate::schedules;
use crate::support::db::TestDb;
use crate::support::panda::Panda;

/// Texts of other programs and of the operating system, which a terminal shows as they are.
const FROM_OUTSIDE: [&str; 3] = ["exit code 1", "File exists (os error", "Connection refused (os error"];

/// Longest time of a command.
const LONGEST: Duration = Duration::from_secs(30);

/// Number of English words in a row that make a sentence.
const SENTENCE: usize = 3;

/// English sentences in `text`. Cells of a table are separated by two spaces.
fn english(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for cell in text.lines().flat_map(|line| line.split("  ")) {
        let cell = FROM_OUTSIDE.iter().fold(cell.to_owned(), |cell, outside| cell.replace(outside, "…"));
        let mut words: Vec<&str> = Vec::new();
        let mut in_command = false;
        for word in cell.split(' ').chain([""]) {
            let plain = word.trim_matches(|c: char| c.is_ascii_punctuation());
            // `panda token create --help` and its like are commands, up to a word of another language.
            in_command = plain == "panda" || in_command && word.is_ascii() && !word.is_empty();
            let lower =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'\'');
            let is_word = plain.len() > 1 && lower(plain);
            let begins = plain.strip_prefix(|c: char| c.is_ascii_uppercase()).is_some_and(lower);
            if !in_command && (is_word || begins) {
                words.push(word);
                continue;
            }
            if words.len() >= SENTENCE {
                found.push(words.join(" "));
            }
            words.clear();
        }
    }
    found
}

fn korean(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.chars().any(|c| ('가'..='힣').contains(&c))).collect()
}

/// A server with something to show to every command, and the ids of a failed deployment, a ready one and a stopped schedule.
async fn something_to_show(db: &TestDb) -> [String; 3] {
    let mut failed = Fixture::begin(&db.db).await;
    failed.build_lines(1, 2).await;
    failed.fail().await;
    let mut ready = Fixture::begin_of(&db.db, "acme", "other").await;
    ready.ready().await;
    let hourly = schedules::hourly(&db.db).await;
    let stopped = schedules::made_by(&db.db, &hourly, &schedules::caller("alice", Role::Deployer, Scope::All)).await;
    revoke_token(&db.db, "tok_alice", &Caller::local()).await.unwrap();
    [failed.id().to_owned(), ready.id().to_owned(), stopped]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cli_language__no_mixed_sentences() {
    let mut mixed = Vec::new();
    for lang in ["ko", "en"] {
        // Another server for each language: the last commands leave deployments that are under way, which "watch" would follow.
        let db = TestDb::new().await;
        let [failed, ready, stopped] = something_to_show(&db).await;
        let server = Panda::builder().on(&db).process().ready().await;
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let (failed, ready, stopped, key) = (failed.as_str(), ready.as_str(), stopped.as_str(), key.to_str().unwrap());
        let create = ["schedule", "create", "--cron", "30 6 * * MON-FRI", "--owner", "acme", "--repo", "shop"];
        let against_server: Vec<Vec<&str>> = [
            &["list"][..],
            &["list", "--owner", "a/b"],
            &["current"],
            &["result", failed],
            &["result", ready],
            &["result", "dep_none"],
            &["watch", failed],
            &["watch", ready],
            &["watch", "dep_none"],
            &["replay", failed],
            &["connections"],
            &["connections", "remove", "gh_none"],
            &["connections", "secrets", "list", "gh_none"],
            &["connect", "github", "--owner", "acme", "--repo", "shop"],
            &["connect", "aws", "--region", "nowhere", "--role-arn", "x"],
            &["init"],
            &["deploy"],
            &["deploy", "--owner", "none"],
            &["schedule", "list"],
            &["schedule", "show", stopped],
            &["schedule", "runs", stopped],
            &["schedule", "run", stopped],
            &["schedule", "run", stopped],
            &["schedule", "pause", stopped],
            &["schedule", "resume", stopped],
            &["schedule", "change", stopped, "--cron", "61 * * * *"],
            &["schedule", "change", stopped, "--time-zone", "Mars/Olympus"],
            &["schedule", "adopt", stopped],
            &["schedule", "delete", stopped],
            &["schedule", "show", "sch_none"],
            &create,
            &["audit"],
            &["report"],
            &["report", "dora"],
            &["report", "failures"],
            &["report", "none"],
            &["maintenance"],
            &["maintenance", "run", "build_lines", "--dry-run"],
            &["maintenance", "runs"],
            &["log"],
            &["log", "set", "info"],
            &["log", "reset"],
            &["cancel", failed],
            &["switch", failed],
            &["switch", ready],
            &["retry", ready],
            &["retry", failed],
            &["cancel", ready],
        ]
        .map(<[&str]>::to_vec)
        .into();
        let on_database: Vec<Vec<&str>> = [
            &["token", "create", "--name", "bob", "--role", "viewer"][..],
            &["token", "list"],
            &["token", "revoke", "tok_none"],
            &["token", "revoke", "tok_alice"],
            &["token", "revoked"],
            &["token", "restore", "rev_none"],
        ]
        .map(<[&str]>::to_vec)
        .into();
        let alone: Vec<Vec<&str>> = [
            &["keys", "generate", "--file", key][..],
            &["keys", "generate", "--file", key],
            &["list", "--server", "http://127.0.0.1:1"],
        ]
        .map(<[&str]>::to_vec)
        .into();
        for (commands, option, value) in [
            (&against_server, "--server", server.url.as_str()),
            (&on_database, "--database-url", db.url()),
            (&alone, "--lang", lang),
        ] {
            for args in commands {
                let mut command = panda(args);
                command.args([option, value]).env("PANDA_LANG", lang).current_dir(folder.path());
                let ended = timeout(LONGEST, run(&mut command)).await;
                let ended = ended.unwrap_or_else(|_| panic!("{lang} {args:?} does not end"));
                assert!(!ended.stderr.contains("Usage: "), "{args:?}: {}", ended.stderr);
                let text = format!("{}\n{}", ended.stdout, ended.stderr);
                let found =
                    if lang == "ko" { english(&text) } else { korean(&text).into_iter().map(str::to_owned).collect() };
                if !found.is_empty() {
                    mixed.push(format!("{lang} {args:?}: {found:?}"));
                }
            }
        }
    }
    assert!(mixed.is_empty(), "{}", mixed.join("\n"));
}

#[test]
fn sentences_are_recognised() {
    assert_eq!(english("배포 실패: the build was not started"), ["the build was not started"]);
    assert_eq!(english("deploymentId  status  errorCode\ndep_1  FAILED  BUILD_FAILED"), [""; 0]);
    assert_eq!(english("배포 없음: panda deploy --help 참고"), [""; 0]);
    assert_eq!(english("The server was stopped"), ["The server was stopped"]);
}
