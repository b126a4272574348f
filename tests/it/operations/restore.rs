//! A restored Panda looks for effects before it makes them: deployments that continued after the backup, and databases of other names and owners.

use std::path::Path;
use std::process::Command;

use panda_testing::process::run as runs;
use pretty_assertions::assert_eq;
use url::Url;

use super::site::Site;
use crate::reconcile::takeover::{building, slow_build};
use crate::reconcile::{Replica, deploy, events, status};
use crate::support::commands::Commands as _;
use crate::support::db::TestDb;
use crate::support::environment::Environment;
use panda_testing::document_blocks::{run_blocks, script};

fn dump(url: &Url, file: &Path) {
    runs(Command::new("pg_dump").arg("--format=custom").arg("--file").arg(file).arg(url.as_str()));
}

/// The environment with a database that is restored from `file`.
async fn restored(env: &Environment, file: &Path) -> Environment {
    let empty = TestDb::empty("").await;
    let restore = ["--no-owner", "--no-acl", "--exit-on-error", "--dbname"];
    runs(Command::new("pg_restore").args(restore).arg(empty.url()).arg(file));
    runs(Command::new(env!("CARGO_BIN_EXE_panda")).args(["migrate", "--database-url", empty.url()]));
    env.same().with_database(empty)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore__deployments_that_continued_repeat_no_effect() {
    let env = Environment::with_files(slow_build(3)).await;
    let folder = tempfile::tempdir().unwrap();
    let [during_build, ready] = ["build.dump", "ready.dump"].map(|name| folder.path().join(name));
    let flags = ["--watch-interval-ms=300"];
    let replica = Replica::start(&env, &flags);
    let id = deploy(&env, "main").await;
    building(&env, &id).await;
    dump(&env.db.owner_url(), &during_build);
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    dump(&env.db.owner_url(), &ready);
    env.db.db.request_switch(&id).await.unwrap();
    status(&env, &id, &["COMPLETED"]).await;
    replica.stop().await;
    let last = events(&env, &id).await.len();

    for (file, begins) in [(&during_build, "RUNNING"), (&ready, "DEPLOYMENT_READY")] {
        let restored = restored(&env, file).await;
        assert_eq!(restored.db.db.deployment(&id).await.unwrap().unwrap().status, begins);
        assert!(events(&restored, &id).await.len() < last, "later events are lost");
        let replica = Replica::start(&restored, &flags);
        status(&restored, &id, &["COMPLETED"]).await;
        replica.stop().await;
        let effects = env.sandbox.effects(&env.ecr_repository());
        assert_eq!(effects.pushes.values().copied().collect::<Vec<_>>(), [1], "{begins}");
        assert_eq!(effects.executions.values().copied().collect::<Vec<_>>(), [1], "{begins}");
    }
}

/// Names as operators choose them, on a server where neither the owner nor the administrator is a superuser.
#[tokio::test]
async fn restore__database_and_owner_of_other_names() {
    let Some(site) = Site::new(15).await else { return };
    let blocks = run_blocks("docs/operations-recovery.md");
    let prepared: Vec<_> = blocks
        .into_iter()
        .filter(|block| ["Roles and databases", "Backing up"].contains(&block.heading.as_str()))
        .collect();
    let other = r#"
psql --quiet --set=ON_ERROR_STOP=1 "$ADMIN_URL" <<SQL
CREATE ROLE "소유자 2" LOGIN PASSWORD 'other';
GRANT "소유자 2" TO CURRENT_USER;
CREATE DATABASE "panda 복원" OWNER "소유자 2";
SQL
OTHER="postgres://%EC%86%8C%EC%9C%A0%EC%9E%90%202:other@$DATABASE/panda%20%EB%B3%B5%EC%9B%90"
pg_restore --no-owner --no-acl --exit-on-error --dbname="$OTHER" panda.dump
panda migrate --database-url "$OTHER"
panda migrate --database-url "$OTHER" --print-app-role '서버 역할' | as_admin '"panda 복원"'
panda keys check --database-url "$OTHER" --key-file keys
psql "$OTHER" --tuples-only --no-align --command="SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
psql "$OTHER" --tuples-only --no-align --command="SELECT has_table_privilege('panda_report', 'panda_report.queue_v1', 'SELECT')"
"#;
    let ended = site.succeeds(&format!("{}{other}", script(&prepared))).await;
    let last: Vec<&str> = ended.stdout.lines().rev().take(2).collect();
    assert_eq!(last, ["t", "소유자 2"], "{}", ended.stdout);
    assert!(
        !ended.stdout.contains("panda_report is missing")
            || ended.stdout.matches("panda_report is missing").count() == 1,
        "{}",
        ended.stdout
    );
}
