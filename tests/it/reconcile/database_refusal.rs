//! A database that answers but refuses writes: readiness and the log report it, no work is done meanwhile, and replicas recover by themselves.

use chrono::{DateTime, Utc};
use pretty_assertions::assert_eq;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::takeover::{building, slow_build, undisturbed};
use super::{deploy, status};
use crate::support::environment::Environment;
use crate::support::process::Serve;
use crate::support::wait_for;

/// Makes every writer fail with Postgres' error for a file that cannot be extended.
const FULL: &str = "
    CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'could not extend file \"base/16384/16400\": No space left on device' USING ERRCODE = 'disk_full';
    END $$;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('CREATE TRIGGER no_space BEFORE INSERT OR UPDATE ON %I EXECUTE FUNCTION no_space()', name);
        END LOOP;
    END $$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_refusal__full_disk_only_delays() {
    let env = Environment::with_files(slow_build(5)).await;
    let again = "DROP FUNCTION no_space CASCADE";
    refused(&env, &[], sql(FULL), again, "the database's disk is full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_refusal__read_only_only_delays() {
    let env = Environment::with_files(slow_build(5)).await;
    let name = env.db.name();
    // As after a failover or a hoster's limit: new sessions are read-only, and old ones are ended.
    let read_only = format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    // Sessions that began meanwhile stay read-only until they are ended.
    let again = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    refused(&env, &[], sql(&read_only), &again, "the database is read-only").await;
}

fn sql(text: &str) -> impl AsyncFnOnce(&mut PgConnection, &Serve) {
    async move |psql: &mut PgConnection, _: &Serve| _ = psql.execute(AssertSqlSafe(text.to_owned())).await.unwrap()
}

/// `begin` keeps a replica from writing while it builds; `end` undoes it.
async fn refused(
    env: &Environment,
    flags: &[&str],
    begin: impl AsyncFnOnce(&mut PgConnection, &Serve),
    end: &str,
    said: &str,
) {
    let replica = Serve::start(env, &[&["--lease-ms=2500"], flags].concat(), &[]);
    replica.ready().await;
    let id = deploy(env, "main").await;
    building(env, &id).await;
    let mut psql = env.db.psql().await;
    begin(&mut psql, &replica).await;

    wait_for("readiness reports it", async || {
        let answer = reqwest::get(format!("{}/readyz", replica.url)).await.unwrap();
        let unready = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        unready && answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains(said)
    })
    .await;
    let command = Client::new().post(format!("{}/api/v1/deploy/{id}/cancel", replica.url)).send().await.unwrap();
    assert_eq!(command.status(), StatusCode::SERVICE_UNAVAILABLE, "a command that cannot be stored is refused");
    let gave_up = wait_for("the replica stops working", async || {
        let log = replica.log();
        let line = log.lines().find(|line| line.contains("lease lost, dropping the deployment"))?;
        Some(line.split_whitespace().next().unwrap().parse::<DateTime<Utc>>().unwrap())
    })
    .await;
    // Both clocks are this machine's.
    let sql = "SELECT max(heartbeat_at + lease_ms * interval '1 millisecond') FROM replicas";
    let lease_ends: DateTime<Utc> = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
    assert!(gave_up < lease_ends, "it worked on until {gave_up}, its lease ended at {lease_ends}");
    assert!(replica.log().contains("heartbeat failed"), "{}", replica.log());
    assert!(env.sandbox.effects(&env.ecr_repository()).pushes.is_empty(), "no work is done meanwhile");

    psql.execute(AssertSqlSafe(end.to_owned())).await.unwrap();
    replica.ready().await;
    status(env, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(env, &id).await;
}
