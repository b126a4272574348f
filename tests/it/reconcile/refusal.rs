//! A database that answers and takes no writes: said in readiness and the log, nothing is done meanwhile, and it passes by itself.

use chrono::{DateTime, Utc};
use pretty_assertions::assert_eq;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::takeover::{building, slow_build, undisturbed};
use super::{deploy, status};
use crate::support::process::Serve;
use crate::support::wait_for;
use crate::support::world::World;

/// What Postgres says when it cannot extend a file, for whoever writes.
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
async fn a_full_disk_of_the_database_costs_only_time() {
    let world = World::with_files(slow_build(5)).await;
    let again = "DROP FUNCTION no_space CASCADE";
    refused(&world, &[], sql(FULL), again, "the database's disk is full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_costs_only_time() {
    let world = World::with_files(slow_build(5)).await;
    let name = world.db.name();
    // As after a failover or a hoster's limit: sessions begin read-only, and the old ones are ended.
    let read_only = format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    // The sessions that began meanwhile stay read-only: nobody ends them for us.
    let again = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    refused(&world, &[], sql(&read_only), &again, "the database is read-only").await;
}

/// Runs `text`.
fn sql(text: &str) -> impl AsyncFnOnce(&mut PgConnection, &Serve) {
    async move |psql: &mut PgConnection, _: &Serve| _ = psql.execute(AssertSqlSafe(text.to_owned())).await.unwrap()
}

/// `begin` keeps a replica from writing while it builds; `end` takes that back.
async fn refused(
    world: &World,
    flags: &[&str],
    begin: impl AsyncFnOnce(&mut PgConnection, &Serve),
    end: &str,
    said: &str,
) {
    let replica = Serve::start(world, &[&["--lease-ms=2500"], flags].concat(), &[]);
    replica.ready().await;
    let id = deploy(world, "main").await;
    building(world, &id).await;
    let mut psql = world.db.psql().await;
    begin(&mut psql, &replica).await;

    wait_for("readiness says so", async || {
        let answer = reqwest::get(format!("{}/readyz", replica.url)).await.unwrap();
        let unready = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        unready && answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains(said)
    })
    .await;
    let wish = Client::new().post(format!("{}/api/v1/deploy/{id}/cancel", replica.url)).send().await.unwrap();
    assert_eq!(wish.status(), StatusCode::SERVICE_UNAVAILABLE, "a wish that cannot be kept is not taken");
    let gave_up = wait_for("it stops", async || {
        let log = replica.log();
        let line = log.lines().find(|line| line.contains("lease lost, dropping the deployment"))?;
        Some(line.split_whitespace().next().unwrap().parse::<DateTime<Utc>>().unwrap())
    })
    .await;
    // Both clocks are this machine's.
    let sql = "SELECT max(heartbeat_at + lease_ms * interval '1 millisecond') FROM replicas";
    let lease_ends: DateTime<Utc> = sqlx::query_scalar(sql).fetch_one(&mut psql).await.unwrap();
    assert!(gave_up < lease_ends, "it worked on until {gave_up}, its lease ended at {lease_ends}");
    assert!(replica.log().contains("a heartbeat failed"), "{}", replica.log());
    assert!(world.sandbox.effects(&world.ecr_repository()).pushes.is_empty(), "nothing is done meanwhile");

    psql.execute(AssertSqlSafe(end.to_owned())).await.unwrap();
    replica.ready().await;
    status(world, &id, &["DEPLOYMENT_READY"]).await;
    undisturbed(world, &id).await;
}
