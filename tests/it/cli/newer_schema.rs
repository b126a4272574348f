//! An older program beside a newer schema, as during an upgrade.

use panda::app;

use crate::support::wait_for;
use crate::support::world::World;

#[tokio::test]
async fn a_server_that_may_migrate_starts_on_a_schema_that_is_newer_than_its_own() {
    let world = World::start().await;
    let mut psql = world.db.psql().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'of the next version', true, '\\x00', 1)",
    )
    .execute(&mut psql)
    .await
    .unwrap();
    let server = app::start(world.config(&["--migrate=true"]), Some(world.controller())).await.unwrap();
    let url = format!("http://{}/readyz", server.address());
    wait_for("it is ready, and its replica is known", async || {
        let replicas: i64 = sqlx::query_scalar("SELECT count(*) FROM replicas").fetch_one(&mut psql).await.unwrap();
        replicas > 0 && reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    server.stop().await;
}
