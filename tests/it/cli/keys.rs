//! `panda keys check`: which keys the stored secrets use, and which secrets cannot be decrypted.

use std::path::Path;

use panda::domain::keyring::Keyring;
use pretty_assertions::assert_eq;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use tempfile::TempDir;

use super::{Ended, panda, run};
use crate::db::encryption::{connect, with_keys};
use crate::http::fixture::{github_connection, github_connection_with};
use crate::support::db::TestDb;

/// Secrets that [`connect`] stores, and a part that each has in common.
const CANARY: &str = "canary";

/// A folder with key files, and lines of keys.
struct Keys {
    folder: TempDir,
    lines: Vec<SecretString>,
}

impl Keys {
    fn new(count: usize) -> Self {
        let lines = (0..count).map(|_| Keyring::generate().unwrap()).collect();
        Self { folder: tempfile::tempdir().unwrap(), lines }
    }

    fn id(&self, at: usize) -> &str {
        self.lines[at].expose_secret().split(':').next().unwrap()
    }

    fn of(&self, order: &[usize]) -> Vec<&SecretString> {
        order.iter().map(|at| &self.lines[*at]).collect()
    }

    /// Runs a command of `panda keys` with a file of these lines.
    async fn run(&self, database: &str, order: &[usize], args: &[&str]) -> Ended {
        let lines: Vec<&str> = self.of(order).iter().map(|line| line.expose_secret()).collect();
        self.run_with(database, &lines.join("\n"), args).await
    }

    async fn run_with(&self, database: &str, lines: &str, args: &[&str]) -> Ended {
        let file = self.folder.path().join("keys");
        std::fs::write(&file, lines).unwrap();
        let ended = command(database, &file, args).await;
        for line in self.lines.iter().map(ExposeSecret::expose_secret) {
            let key = line.split_once(':').unwrap().1;
            assert!(!ended.stdout.contains(key) && !ended.stderr.contains(key), "{ended:?}");
        }
        assert!(!ended.stdout.contains(CANARY) && !ended.stderr.contains(CANARY), "{ended:?}");
        ended
    }

    /// The answer of `panda keys check --json`, and its exit code.
    async fn check(&self, database: &str, order: &[usize]) -> (Value, i32) {
        let ended = self.run(database, order, &["check", "--json"]).await;
        (serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}")), ended.code)
    }
}

async fn command(database: &str, file: &Path, args: &[&str]) -> Ended {
    let mut command = panda(&["keys"]);
    command.args(args).args(["--database-url", database, "--key-file"]).arg(file);
    run(&mut command).await
}

fn key(id: &str, state: &str, rows: u64, unreadable: u64) -> Value {
    json!({"id": id, "state": state, "rows": rows, "unreadable": unreadable})
}

#[tokio::test]
async fn keys_check__lists_use_before_and_after_rotation() {
    let (test, keys) = (TestDb::new().await, Keys::new(3));
    connect(&with_keys(&test, &keys.of(&[0]))).await;
    let (answer, code) = keys.check(test.url(), &[1, 0, 2]).await;
    let before =
        [key(keys.id(1), "encrypts", 0, 0), key(keys.id(0), "decrypts", 3, 0), key(keys.id(2), "unused", 0, 0)];
    assert_eq!((&answer["keys"], code), (&json!(before), 0));
    assert_eq!((&answer["rows"], &answer["unreadable"]), (&json!(3), &json!(0)));

    assert_eq!(keys.run(test.url(), &[1, 0], &["rotate"]).await.code, 0);
    let printed = keys.run(test.url(), &[1, 0], &["check"]).await;
    assert!(printed.code == 0 && printed.stdout.contains("All 3 encrypted rows can be decrypted."), "{printed:?}");
    assert!(printed.stdout.contains(&format!("Unused: {}.", keys.id(0))), "{printed:?}");
    let (_, code) = keys.check(test.url(), &[1]).await;
    assert_eq!(code, 0, "the unused line is removed");
}

#[tokio::test]
async fn keys_check__missing_key_named_with_its_rows() {
    let (test, keys) = (TestDb::new().await, Keys::new(2));
    let [github, aws, role] = connect(&with_keys(&test, &keys.of(&[0]))).await;
    let (answer, code) = keys.check(test.url(), &[1]).await;
    assert_eq!(answer["keys"], json!([key(keys.id(1), "encrypts", 0, 0), key(keys.id(0), "missing", 3, 3)]));
    let rows: Vec<&str> =
        answer["unreadableRows"].as_array().unwrap().iter().map(|row| row["row"].as_str().unwrap()).collect();
    let mut expected = [format!("aws_connections/{aws}"), format!("aws_connections/{role}")];
    expected.sort();
    assert_eq!(
        (rows[0], &rows[1..], code),
        (format!("github_connections/{github}").as_str(), &[expected[0].as_str(), &expected[1]][..], 5)
    );
    let printed = keys.run(test.url(), &[1], &["check"]).await;
    assert!(printed.stderr.contains("3 of 3 encrypted rows cannot be decrypted"), "{printed:?}");
    assert!(printed.stdout.contains(keys.id(0)) && printed.stdout.contains("--renew"), "{printed:?}");
    let korean = keys.run(test.url(), &[1], &["check", "--lang", "ko"]).await;
    assert!(korean.stderr.contains("3개") && korean.stdout.contains("키 파일에 없는 키"), "{korean:?}");
}

#[tokio::test]
async fn keys_rotate__lost_secret_does_not_keep_the_others() {
    let (test, keys) = (TestDb::new().await, Keys::new(3));
    let lost = github_connection(&with_keys(&test, &keys.of(&[2])), "acme", "shop").await;
    connect(&with_keys(&test, &keys.of(&[0]))).await;
    let rotated = keys.run(test.url(), &[1, 0], &["rotate"]).await;
    assert!(rotated.code == 5 && rotated.stderr.contains(&lost), "{rotated:?}");
    let (answer, _) = keys.check(test.url(), &[1, 0]).await;
    let found = [key(keys.id(1), "encrypts", 3, 0), key(keys.id(0), "unused", 0, 0), key(keys.id(2), "missing", 1, 1)];
    assert_eq!(answer["keys"], json!(found));
}

/// A value that was changed, one that was moved, a wrapped key of an unknown form, and another key under the same id.
#[tokio::test]
async fn keys_check__broken_rows_do_not_hide_the_others() {
    let (test, keys) = (TestDb::new().await, Keys::new(2));
    let db = with_keys(&test, &keys.of(&[0]));
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(github_connection_with(&db, "acme", "shop", SecretString::from("canary_token")).await);
    }
    for (at, sql) in [
        "UPDATE github_connections SET token_encrypted = set_byte(token_encrypted, 20, get_byte(token_encrypted, 20) # 1) WHERE id = '{}'",
        "UPDATE github_connections a SET wrapped_key = b.wrapped_key FROM github_connections b WHERE a.id = '{}' AND b.id <> a.id",
        "UPDATE github_connections SET wrapped_key = '\\x02' WHERE id = '{}'",
    ]
    .iter()
    .enumerate()
    {
        let sql = sql.replace("{}", &ids[at]);
        assert_eq!(test.psql().await.execute(AssertSqlSafe(sql)).await.unwrap().rows_affected(), 1);
    }
    let (answer, code) = keys.check(test.url(), &[0]).await;
    assert_eq!((&answer["keys"], code), (&json!([key(keys.id(0), "encrypts", 4, 3)]), 5));
    assert!(!answer["unreadableRows"].to_string().contains(&ids[3]), "{answer}");

    let same_id = format!("{}:{}", keys.id(0), keys.lines[1].expose_secret().split_once(':').unwrap().1);
    let other = keys.run_with(test.url(), &same_id, &["check", "--json"]).await;
    let answer: Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!((&answer["unreadable"], other.code), (&json!(4), 5), "{other:?}");
}

#[tokio::test]
async fn keys_check__covers_build_secrets_and_installation() {
    let (test, keys) = (TestDb::new().await, Keys::new(1));
    let db = with_keys(&test, &keys.of(&[0]));
    let id = github_connection(&db, "acme", "shop").await;
    let value = SecretString::from("canary_value");
    let by = panda::domain::Caller::local();
    panda::commands::build_secrets::set_build_secret(&db, &id, "npm", &value, &by).await.unwrap();
    let request =
        panda::db::idempotency::IdempotencyKey { scope: "POST /x".into(), key: "k".into(), request_hash: vec![7; 32] };
    db.stored_answer(&request).await.unwrap();
    let (answer, code) = keys.check(test.url(), &[0]).await;
    assert_eq!((&answer["rows"], code), (&json!(2), 0));
    for (broken, sql) in [
        (1, "UPDATE github_build_secrets SET value_encrypted = '\\x00'"),
        (2, "UPDATE installation SET request_secret_encrypted = '\\x00'"),
    ] {
        test.psql().await.execute(sql).await.unwrap();
        let (answer, code) = keys.check(test.url(), &[0]).await;
        assert_eq!((&answer["unreadable"], code), (&json!(broken), 5), "{answer}");
    }
}

#[tokio::test]
async fn keys_check__several_pages_and_a_read_only_database() {
    let (test, keys) = (TestDb::new().await, Keys::new(2));
    let (old, new) = (with_keys(&test, &keys.of(&[0])), with_keys(&test, &keys.of(&[1])));
    for n in 0..40 {
        github_connection(if n % 3 == 0 { &new } else { &old }, "acme", "shop").await;
    }
    let read_only = format!("{}?options=-c%20default_transaction_read_only=on", test.url());
    let (answer, code) = keys.check(&read_only, &[1, 0]).await;
    assert_eq!(
        (&answer["keys"], code),
        (&json!([key(keys.id(1), "encrypts", 14, 0), key(keys.id(0), "decrypts", 26, 0)]), 0)
    );
}

#[tokio::test]
async fn keys_check__empty_databases_and_missing_key_files() {
    let keys = Keys::new(1);
    let (answer, code) = keys.check(TestDb::new().await.url(), &[0]).await;
    assert_eq!(
        (answer, code),
        (
            json!({"keys": [key(keys.id(0), "encrypts", 0, 0)], "rows": 0, "unreadable": 0, "unreadableRows": [], "encryptingProblem": null}),
            0
        )
    );
    let empty = TestDb::empty("").await;
    let ended = keys.run(empty.url(), &[0], &["check"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("panda migrate"), "{ended:?}");
    let ended = keys.run_with(empty.url(), "", &["check"]).await;
    assert!(ended.code == 5 && ended.stderr.contains("there is no key"), "{ended:?}");
    let none = command(empty.url(), &keys.folder.path().join("none"), &["check"]).await;
    assert!(none.code == 5 && none.stderr.contains("cannot be read"), "{none:?}");
}
