//! Guarantees of the database layer.

mod api_budgets;
mod app_role;
mod archive;
mod commit;
pub mod encryption;
mod fitness;
mod group_commit;
mod ownership;
mod schema;
mod scopes;
mod shared_state;
mod step_runs;
mod step_stages;
mod watch;

use std::time::Duration;

use panda::db::Db;
use panda::domain::Deployment;
use panda::domain::deployment::Concurrency;
use panda::steps::Step;
use uuid::Uuid;

use crate::http::fixture;

/// Inserts a row at its first step, with a separate target, because each target has one unfinished deployment.
pub async fn new_deployment(db: &Db) -> String {
    let account = format!("{:012}", rand::random_range(0..1_000_000_000_000_u64));
    fixture::create(db, "acme", "shop", &account, Concurrency::Reject).await
}

/// Registers a replica whose lease lasts for the test.
pub async fn replica(db: &Db) -> Uuid {
    replica_with(db, Duration::from_mins(5)).await
}

/// Registers a replica with this lease.
pub async fn replica_with(db: &Db, lease: Duration) -> Uuid {
    let id = Uuid::now_v7();
    db.register_replica(id, uuid::Uuid::now_v7(), "test", lease).await.unwrap();
    id
}

/// Claims up to `limit` rows, `heavy` of them at build steps.
pub async fn claim(db: &Db, replica: Uuid, limit: i64, heavy: i64) -> Vec<String> {
    let known: Vec<String> = Step::NAMES.iter().map(|&name| name.to_owned()).collect();
    let claimed = db.claim(replica, limit, &known, heavy, &Step::heavy_names()).await.unwrap();
    claimed.into_iter().map(|one| one.id).collect()
}

/// Claims one row and reads it.
pub async fn claim_one(db: &Db, replica: Uuid) -> Deployment {
    let ids = claim(db, replica, 1, 1).await;
    db.load_owned(replica, &ids).await.unwrap().pop().unwrap()
}
