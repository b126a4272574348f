//! Thousands of deployments, made through the program's own database code.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use panda::db::Db;
use panda::db::commit::{Change, Committed};
use panda::db::deployments::NewDeployment;
use panda::domain::Deployment;
use panda::domain::catalogue::EventCode;
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys, GithubConnection};
use panda::domain::deployment::Concurrency;
use panda::domain::event::Event;
use panda::domain::ids;
use panda::domain::principal::Caller;
use secrecy::SecretString;
use uuid::Uuid;

/// A step that no server knows: its rows are left to the bench.
pub const STEP: &str = "bench";

/// Concurrent statements while rows are made.
const CONCURRENCY: usize = 16;

/// Creates `count` RUNNING deployments at [`STEP`], each with a separate target.
pub async fn create(db: &Db, count: usize) {
    create_of(db, "shop", count).await;
}

/// Creates deployments of repositories whose names begin with `repo`, for a second set in one database.
pub async fn create_of(db: &Db, repo: &str, count: usize) {
    let keys =
        AwsKeys { access_key_id: "AKIA".into(), secret_access_key: SecretString::from("s"), session_token: None };
    let aws = AwsConnection {
        id: ids::aws_connection_id(),
        region: "ap-northeast-2".into(),
        account_id: "111122223333".into(),
        credentials: AwsCredentials::Keys(keys),
        rule_target_role_arn: None,
    };
    create_in(db, repo, count, aws).await;
}

/// Creates deployments to the account of `aws`.
async fn create_in(db: &Db, repo: &str, count: usize, aws: AwsConnection) {
    let github = GithubConnection {
        id: ids::github_connection_id(),
        owner: "acme".into(),
        repo: "shop".into(),
        branch: "main".into(),
        token: SecretString::from("t"),
        build_secrets: std::collections::BTreeMap::new(),
    };
    db.insert_github_connection(&github).await.unwrap();
    db.insert_aws_connection(&aws).await.unwrap();
    stream::iter(0..count)
        .map(|n| NewDeployment {
            id: ids::deployment_id(),
            owner: "acme".into(),
            repo: format!("{repo}-{n}"),
            requested: panda::domain::request::Requested::branch("main"),
            github_connection_id: github.id.clone(),
            aws_connection_id: aws.id.clone(),
            account_id: aws.account_id.clone(),
            region: aws.region.clone(),
            ecr_repository: format!("acme-{repo}-{n}"),
            first_step: STEP.into(),
            caused_by: None,
            freeze_override: None,
            trace: None,
            concurrency: Concurrency::Reject,
        })
        .for_each_concurrent(CONCURRENCY, |new| async move {
            panda::commands::deploy::deploy(db, &new, None, &Caller::local(), |_| serde_json::Value::Null)
                .await
                .unwrap();
        })
        .await;
}

/// Registers a replica whose lease outlasts any bench.
pub async fn replica(db: &Db) -> Uuid {
    let me = Uuid::now_v7();
    db.register_replica(me, Uuid::now_v7(), "bench", Duration::from_mins(30)).await.unwrap();
    me
}

/// Claims all deployments at [`STEP`].
pub async fn claim(db: &Db, me: Uuid, count: usize) -> Vec<Deployment> {
    let limit = i64::try_from(count).unwrap();
    let ids = db.claim(me, limit, &[STEP.to_owned()], 0, &[]).await.unwrap();
    let ids: Vec<String> = ids.into_iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), count);
    db.load_owned(me, &ids).await.unwrap()
}

/// Creates deployments that only the bench advances, as a replica.
pub async fn own(db: &Db, repo: &str, count: usize) -> (Uuid, Vec<Deployment>) {
    create_of(db, repo, count).await;
    let me = replica(db).await;
    (me, claim(db, me, count).await)
}

/// Builds a change with one more event.
pub fn build_line(n: usize, message: String) -> Change {
    let event = Event::new(EventCode::BuildProgress).with("message", message).keyed(n);
    Change { events: vec![event], ..Change::default() }
}

/// Commits a change as the owner, and fails unless it was applied: viewers would wait for ever for a refused one.
pub async fn append(db: &Db, row: &mut Deployment, me: Uuid, change: Change) {
    let committed = db.commit(row, me, change).await.unwrap();
    assert_eq!(committed, Committed::Done { new_events: 1 });
}

/// Creates `count` deployments, advances each by `change`, which also sets `waiting_for`, and releases them.
pub async fn place(db: &Db, count: usize, change: impl Fn(usize) -> Change) {
    create(db, count).await;
    advance(db, count, change).await;
}

/// The same in the account of `aws`.
pub async fn place_in(db: &Db, aws: AwsConnection, count: usize, change: impl Fn(usize) -> Change) {
    create_in(db, "shop", count, aws).await;
    advance(db, count, change).await;
}

async fn advance(db: &Db, count: usize, change: impl Fn(usize) -> Change) {
    let me = replica(db).await;
    let rows = claim(db, me, count).await;
    stream::iter(rows.into_iter().enumerate())
        .for_each_concurrent(CONCURRENCY, |(n, mut row)| {
            let change = Change { release: true, ..change(n) };
            async move {
                let committed = db.commit(&mut row, me, change).await.unwrap();
                assert!(matches!(committed, Committed::Done { .. }), "{committed:?}");
            }
        })
        .await;
    db.deregister_replica(me).await.unwrap();
}
