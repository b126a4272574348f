//! Guarantees of the database layer.

mod app_role;
mod archive;
mod commit;
mod encryption;
mod fitness;
mod group_commit;
mod ownership;
mod schema;
mod scopes;
mod step_runs;
mod stuck_deployments;
mod upgrade;

use std::time::Duration;

use panda::db::Db;
use panda::db::create::{Created, NewDeployment};
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use panda::domain::deployment::Concurrency;
use panda::domain::{Caller, Deployment, ids};
use panda::steps::{FIRST_STEP, Step};
use secrecy::SecretString;
use uuid::Uuid;

/// Inserts a row at its first step.
pub async fn new_deployment(db: &Db) -> String {
    let github = GithubConnection {
        id: ids::github_connection_id(),
        owner: "acme".into(),
        repo: "shop".into(),
        branch: "main".into(),
        token: SecretString::from("t"),
        build_secrets: std::collections::BTreeMap::new(),
    };
    let keys =
        AwsKeys { access_key_id: "AKIA".into(), secret_access_key: SecretString::from("s"), session_token: None };
    let aws = AwsConnection {
        id: ids::aws_connection_id(),
        region: "ap-northeast-2".into(),
        // A separate target, because each target has one unfinished deployment.
        account_id: format!("{:012}", rand::random_range(0..1_000_000_000_000_u64)),
        credentials: AwsCredentials::Keys(keys),
    };
    db.insert_github_connection(&github).await.unwrap();
    db.insert_aws_connection(&aws).await.unwrap();
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: "acme".into(),
        repo: "shop".into(),
        requested: panda::domain::request::Requested::branch("main"),
        github_connection_id: github.id,
        aws_connection_id: aws.id,
        account_id: aws.account_id,
        region: aws.region,
        ecr_repository: "acme-shop".into(),
        first_step: FIRST_STEP.into(),
        trace: None,
        concurrency: Concurrency::Reject,
    };
    assert!(matches!(
        db.create_deployment(&new, None, &Caller::local(), |_| serde_json::Value::Null).await.unwrap(),
        Created::New(_)
    ));
    new.id
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
