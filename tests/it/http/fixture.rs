//! Deployment fixture: a deployment that a test advances as the reconciler does, by claims and commits.

use std::time::Duration;

use panda::commands::deploy::deploy;
use panda::db::Db;
use panda::db::commit::{Change, Committed};
use panda::db::deployments::NewDeployment;
use panda::domain::catalogue::EventCode;
use panda::domain::connection::{AwsConnection, AwsCredentials, GithubConnection};
use panda::domain::deployment::{Concurrency, Deployment, Facts, Status};
use panda::domain::event::Event;
use panda::domain::failure::ErrorCode;
use panda::domain::ids;
use panda::domain::principal::Caller;
use panda::domain::request::Requested;
use panda::steps::{FIRST_STEP, RETRY_STEP};
use secrecy::SecretString;
use uuid::Uuid;

/// Stores a connection to `owner/repo` on GitHub.
pub async fn github_connection(db: &Db, owner: &str, repo: &str) -> String {
    github_connection_with(db, owner, repo, SecretString::from("ghp_very_secret")).await
}

/// Stores a connection to `owner/repo` on GitHub that uses `token`.
pub async fn github_connection_with(db: &Db, owner: &str, repo: &str, token: SecretString) -> String {
    let id = ids::github_connection_id();
    let (owner, repo, branch) = (owner.to_owned(), repo.to_owned(), "main".to_owned());
    let build_secrets = std::collections::BTreeMap::new();
    let connection = GithubConnection { id: id.clone(), owner, repo, branch, token, build_secrets };
    db.insert_github_connection(&connection).await.unwrap();
    id
}

/// Stores connections to `acme/shop` on GitHub and to an AWS account.
pub async fn connections(db: &Db) -> (String, String) {
    (github_connection(db, "acme", "shop").await, aws_connection(db).await)
}

/// Stores a connection to an AWS account.
pub async fn aws_connection(db: &Db) -> String {
    let id = ids::aws_connection_id();
    let credentials = AwsCredentials::Role {
        role_arn: "arn:aws:iam::123456789012:role/panda".to_owned(),
        external_id: SecretString::from("external_very_secret"),
    };
    let (region, account_id) = ("ap-northeast-2".to_owned(), "123456789012".to_owned());
    db.insert_aws_connection(&AwsConnection {
        id: id.clone(),
        region,
        account_id,
        credentials,
        rule_target_role_arn: None,
    })
    .await
    .unwrap();
    id
}

pub struct Fixture {
    db: Db,
    replica: Uuid,
    deployment: Deployment,
}

impl Fixture {
    /// A new deployment of `acme/shop`, claimed.
    pub async fn begin(db: &Db) -> Self {
        Self::begin_of(db, "acme", "shop").await
    }

    /// The target AWS account.
    pub fn account(&self) -> &str {
        &self.deployment.account_id
    }

    /// A new deployment of a repository, claimed.
    pub async fn begin_of(db: &Db, owner: &str, repo: &str) -> Self {
        // A separate account makes a separate target: each target has one unfinished deployment.
        let account = format!("{:012}", rand::random_range(0..1_000_000_000_000_u64));
        Self::begin_at(db, owner, repo, &account).await
    }

    /// The same with a chosen account.
    pub async fn begin_at(db: &Db, owner: &str, repo: &str, account: &str) -> Self {
        let id = create(db, owner, repo, account, Concurrency::Reject).await;
        let replica = Uuid::new_v4();
        db.register_replica(replica, uuid::Uuid::now_v7(), "test", Duration::from_mins(5)).await.unwrap();
        let deployment = claim(db, replica, &id).await;
        Self { db: db.clone(), replica, deployment }
    }

    /// Creates an unclaimed deployment and returns its id.
    pub async fn unclaimed(db: &Db) -> String {
        create(db, "acme", "shop", "123456789012", Concurrency::Reject).await
    }

    /// Queues a deployment of `acme/shop` behind `other` and returns its id.
    pub async fn queue_behind(db: &Db, other: &Self) -> String {
        create(db, "acme", "shop", other.account(), Concurrency::Queue).await
    }

    pub fn id(&self) -> &str {
        &self.deployment.id
    }

    /// The reconciler's view of the row.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Commits without a notification.
    pub async fn commit(&mut self, change: Change) {
        let committed = self.db.commit(&mut self.deployment, self.replica, change).await.unwrap();
        assert!(matches!(committed, Committed::Done { .. }));
    }

    pub async fn tell(&mut self, events: Vec<Event>) {
        self.commit(Change { events, ..Change::default() }).await;
    }

    /// Commits build output `from..=to`.
    pub async fn build_lines(&mut self, from: u32, to: u32) {
        let line = |n| Event::new(EventCode::BuildProgress).with("message", format!("line {n}")).keyed(n);
        self.tell((from..=to).map(line).collect()).await;
    }

    pub async fn learn(&mut self, facts: Facts) {
        self.commit(Change { facts, ..Change::default() }).await;
    }

    /// Makes it ready and releases it.
    pub async fn ready(&mut self) {
        let awaiting = Event::new(EventCode::AwaitingSwitch).with("deployment_id", self.id());
        let events = vec![awaiting, Event::new(EventCode::Ready)];
        self.commit(Change { status: Some(Status::DeploymentReady), events, release: true, ..Change::default() }).await;
    }

    /// Claims it again after a switch request.
    pub async fn claim_again(&mut self) {
        self.deployment = claim(&self.db, self.replica, &self.deployment.id).await;
    }

    /// Claims it at the first step of its new attempt.
    pub async fn retried(&self) -> Self {
        let ids = self.db.claim(self.replica, 100, &[RETRY_STEP.to_owned()], 100, &[]).await.unwrap();
        let ids: Vec<String> = ids.into_iter().map(|one| one.id).collect();
        let deployment = self.db.load_owned(self.replica, &ids).await.unwrap().remove(0);
        assert_eq!((deployment.id.as_str(), deployment.attempt), (self.id(), self.deployment.attempt + 1));
        Self { db: self.db.clone(), replica: self.replica, deployment }
    }

    /// Reads the row again, because a failover may have reverted it.
    pub async fn read_again(&mut self) {
        let ids = std::slice::from_ref(&self.deployment.id);
        self.deployment = self.db.load_owned(self.replica, ids).await.unwrap().remove(0);
    }

    /// Ends it as `COMPLETED`.
    pub async fn complete(&mut self) {
        let events = vec![Event::new(EventCode::DeploymentCompleted), Event::new(EventCode::Completed)];
        let facts = Facts { final_service: Some("green".to_owned()), ..Facts::default() };
        self.commit(Change { status: Some(Status::Completed), events, facts, release: true, ..Change::default() })
            .await;
    }

    /// Ends it as `COMPLETED`, while AWS can still take the traffic back.
    pub async fn switched(&mut self) {
        let events = vec![Event::new(EventCode::DeploymentCompleted), Event::new(EventCode::Completed)];
        let facts = Facts { final_service: Some("green".to_owned()), ..Facts::default() };
        let (status, watched) = (Some(Status::Completed), Some(true));
        self.commit(Change { status, watched, events, facts, release: true, ..Change::default() }).await;
    }

    /// Ends a watched one as `FAILED`: AWS took the traffic back.
    pub async fn roll_back(&mut self) {
        let event = Event::failed(ErrorCode::RolledBackAfterSwitch, "an alarm");
        let error = Some((
            "ROLLED_BACK_AFTER_SWITCH".to_owned(),
            "전환 후 트래픽이 Blue로 되돌아갔습니다: an alarm".to_owned(),
        ));
        let facts = Facts { final_service: Some("blue".to_owned()), ..Facts::default() };
        let (status, events) = (Some(Status::Failed), vec![event]);
        self.commit(Change { status, error, events, facts, release: true, ..Change::default() }).await;
    }

    /// Ends it as `FAILED`.
    pub async fn fail(&mut self) {
        let event = Event::failed(ErrorCode::BuildFailed, "exit code 1");
        let error = Some(("BUILD_FAILED".to_owned(), "Docker 이미지 빌드 실패: exit code 1".to_owned()));
        let events = vec![event];
        self.commit(Change { status: Some(Status::Failed), error, events, release: true, ..Change::default() }).await;
    }
}

/// Creates an unclaimed deployment and returns its id.
pub async fn create(db: &Db, owner: &str, repo: &str, account: &str, concurrency: Concurrency) -> String {
    let new = NewDeployment {
        id: ids::deployment_id(),
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        requested: Requested::branch("main"),
        github_connection_id: github_connection(db, owner, repo).await,
        aws_connection_id: aws_connection(db).await,
        account_id: account.to_owned(),
        region: "ap-northeast-2".to_owned(),
        ecr_repository: format!("{owner}-{repo}"),
        first_step: FIRST_STEP.to_owned(),
        caused_by: None,
        freeze_override: None,
        trace: None,
        concurrency,
    };
    deploy(db, &new, None, &Caller::local(), |_| serde_json::Value::Null).await.unwrap();
    new.id
}

async fn claim(db: &Db, replica: Uuid, id: &str) -> Deployment {
    let claimed = db.claim(replica, 100, &[FIRST_STEP.to_owned()], 100, &[]).await.unwrap();
    assert!(claimed.iter().any(|claimed| claimed.id == id), "{id} can be claimed");
    db.load_owned(replica, &[id.to_owned()]).await.unwrap().remove(0)
}
