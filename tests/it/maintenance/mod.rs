//! Retention of rows that the program's own code wrote, aged by SQL.

mod archive;
mod crash;
mod endpoints;
mod events;
mod local_cleanup;
mod replicas;
mod streams;

use std::path::Path;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use clap::Parser;
use panda::background::{Retention, RetentionContext};
use panda::clients::docker::Docker;
use panda::config::RetentionConfig;
use panda::db::Db;
use panda::db::maintenance::{MaintenanceRunFilter, MaintenanceRunView};
use panda::domain::maintenance::RetentionKind;
use panda::metrics::Metrics;

use crate::support::db::TestDb;
use crate::support::wait_for;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    retention: RetentionConfig,
}

/// A replica's maintenance of one kind, due every minute.
pub struct Keeper {
    db: Db,
    kind: RetentionKind,
    pub maintenance: Retention,
    pub metrics: Metrics,
}

impl Keeper {
    /// Maintenance of database rows older than `age`.
    pub fn of(db: &Db, kind: RetentionKind, age: &str) -> Self {
        Self::named(db, kind, age, "here/1")
    }

    /// Retention of deployments that keeps `releases` of each target.
    pub fn keeping(db: &Db, age: &str, releases: u32) -> Self {
        let (nowhere, docker) = (Path::new("/nonexistent"), Docker::connect(Some("unix:///nonexistent")).unwrap());
        Self::due(db, RetentionKind::Deployments, (age, releases), "here/1", nowhere, docker, "* * * * *")
    }

    /// The same in another replica.
    pub fn named(db: &Db, kind: RetentionKind, age: &str, replica: &str) -> Self {
        Self::at(
            db,
            kind,
            age,
            replica,
            Path::new("/nonexistent"),
            Docker::connect(Some("unix:///nonexistent")).unwrap(),
        )
    }

    /// The same with a workspace folder and an engine.
    pub fn at(db: &Db, kind: RetentionKind, age: &str, replica: &str, workspaces: &Path, docker: Docker) -> Self {
        Self::due(db, kind, (age, 0), replica, workspaces, docker, "* * * * *")
    }

    /// The same, but runs only on request: a minute may begin at any time.
    pub fn asked(db: &Db, kind: RetentionKind, age: &str, replica: &str, workspaces: &Path, docker: Docker) -> Self {
        Self::due(db, kind, (age, 0), replica, workspaces, docker, "@yearly")
    }

    fn due(
        db: &Db,
        kind: RetentionKind,
        (age, keep_releases): (&str, u32),
        replica: &str,
        workspaces: &Path,
        docker: Docker,
        cron: &str,
    ) -> Self {
        let option = format!("--retention-{}", kind.as_str().replace('_', "-"));
        let mut args = vec!["panda".to_owned(), format!("{option}-cron={cron}")];
        if kind != RetentionKind::Workspaces {
            args.push(format!("{option}={age}"));
        }
        let rules = Cli::try_parse_from(args).unwrap().retention.rules();
        let metrics = Metrics::default();
        let maintenance = Retention::new(RetentionContext {
            db: db.clone(),
            docker,
            workspace_dir: workspaces.to_owned(),
            metrics: metrics.clone(),
            replica: replica.to_owned(),
            rules: Arc::new(rules.into_iter().filter(|rule| rule.kind == kind).collect()),
            keep_releases,
            requested: Arc::default(),
        });
        Self { db: db.clone(), kind, maintenance, metrics }
    }

    /// Simulates a tick `minutes` from now and returns the finished run.
    pub async fn tick(&self, minutes: i64) -> MaintenanceRunView {
        let before = self.runs().await.len();
        self.maintenance.begin_due(Utc::now() + TimeDelta::minutes(minutes)).await;
        wait_for("the run ended", async || {
            let runs = self.runs().await;
            (runs.len() > before && runs[0].ended_at.is_some()).then(|| runs[0].clone())
        })
        .await
    }

    /// All runs of the kind, newest first.
    pub async fn runs(&self) -> Vec<MaintenanceRunView> {
        let filter = MaintenanceRunFilter { kind: Some(self.kind), limit: 100, ..MaintenanceRunFilter::default() };
        self.db.maintenance_runs(&filter).await.unwrap()
    }
}

/// Ages the deployment as if it had ended this number of days ago.
pub async fn age(db: &TestDb, id: &str, days: i32) {
    let moved =
        sqlx::query("UPDATE deployments SET completed_at = completed_at - make_interval(days => $2) WHERE id = $1")
            .bind(id)
            .bind(days)
            .execute(&mut db.psql().await)
            .await
            .unwrap();
    assert_eq!(moved.rows_affected(), 1);
}

/// Codes of the remaining events, in order.
pub async fn codes(db: &TestDb, id: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT code FROM deployment_events WHERE deployment_id = $1 ORDER BY seq")
        .bind(id)
        .fetch_all(&mut db.psql().await)
        .await
        .unwrap()
}
