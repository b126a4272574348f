//! One pass over all watched deployments: pages of rows, grouped by account, and batches of CodeDeploy's and ECS's.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::compare::{Comparison, compare, must_report_refusal};
use crate::clients::aws::{UserAws, batch_size};
use crate::clients::{ClientError, ErrorKind};
use crate::db::watch::WatchedDeployment;
use crate::db::{Db, DbError};
use crate::domain::connection::AwsConnection;
use crate::domain::rollout::{RolloutId, Traffic};
use crate::metrics::WatchMetrics;
use crate::steps::Services;

/// Rows of one page.
const PAGE: i64 = 1_000;

/// Accounts that are asked concurrently.
const CONCURRENT_ACCOUNTS: usize = 4;

/// Time limit for the rows of one account in a page: one account that does not answer must not delay the others.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Pass<'a> {
    pub(super) db: &'a Db,
    pub(super) services: &'a Services,
    pub(super) metrics: &'a WatchMetrics,
}

impl Pass<'_> {
    /// Compares the watched rows of the turn, and requests looks at those that differ.
    pub(super) async fn run(&self, turn: i64) -> Result<(), DbError> {
        let mut after = (String::new(), String::new());
        loop {
            let rows = self.db.watched_page(turn, &after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = (last.aws_connection_id.clone(), last.id.clone());
            let mut ids: Vec<String> = rows.iter().map(|row| row.aws_connection_id.clone()).collect();
            ids.dedup();
            // A connection that is removed or cannot be decrypted is left out: its deployments are compared once it is renewed.
            let connections = self.db.aws_connections_of(&ids).await?.into_iter().flatten();
            let connections: HashMap<String, AwsConnection> =
                connections.map(|connection| (connection.id.clone(), connection)).collect();
            let accounts = rows.chunk_by(|a, b| (&a.aws_connection_id, &a.region) == (&b.aws_connection_id, &b.region));
            let accounts = accounts.filter_map(|rows| Some((connections.get(&rows.first()?.aws_connection_id)?, rows)));
            let compared: Vec<_> = accounts.map(|(connection, rows)| self.account(connection, rows)).collect();
            let differing: Vec<Vec<String>> =
                stream::iter(compared).buffer_unordered(CONCURRENT_ACCOUNTS).collect().await;
            self.request(&differing.concat()).await?;
        }
    }

    async fn request(&self, ids: &[String]) -> Result<(), DbError> {
        let Some(first) = ids.first() else { return Ok(()) };
        let requested = self.db.request_looks(ids).await?;
        self.metrics.differed(requested);
        tracing::info!(requested, "deployments differ at AWS, looks requested");
        // One notification wakes the claim loops; lost ones delay the looks by a second.
        if let Err(error) = self.db.notify_work(first).await {
            tracing::debug!(%error, "notification of looks lost");
        }
        Ok(())
    }

    /// Returns the ids of those `rows` of one account and region that differ. The rest of an account that throttles, denies or does not answer waits for the
    /// next pass.
    async fn account(&self, connection: &AwsConnection, rows: &[WatchedDeployment]) -> Vec<String> {
        let Some(region) = rows.first().map(|row| row.region.as_str()) else { return Vec::new() };
        let user = self.services.aws.user(&connection.id, region, &connection.credentials);
        let (native, code_deploy): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| matches!(row.rollout, RolloutId::EcsNative(_)));
        let of_one_service = [code_deploy, native].into_iter().filter(|rows| !rows.is_empty());
        let batches: Vec<Vec<&WatchedDeployment>> = of_one_service
            .flat_map(|rows| rows.chunks(batch_size(&rows[0].rollout)).map(<[_]>::to_vec).collect::<Vec<_>>())
            .collect();
        // A random beginning: throttling that ends each pass early must not always spare the same rows.
        let first = rand::random_range(0..batches.len());
        let (mut differing, mut answered) = (Vec::new(), 0);
        let compared = async {
            for batch in batches.iter().cycle().skip(first).take(batches.len()) {
                if let Err(error) = self.batch(&user, batch, &mut differing).await {
                    if error.kind == ErrorKind::Credentials {
                        let refused = rows.iter().filter(|row| must_report_refusal(row));
                        differing.extend(refused.map(|row| row.id.clone()));
                    }
                    tracing::info!(connection = connection.id, kind = ?error.kind, call = error.call, "deployments not compared with AWS");
                    return;
                }
                answered += batch.len();
            }
        };
        if tokio::time::timeout(ACCOUNT_LIMIT, compared).await.is_err() {
            tracing::info!(connection = connection.id, "deployments not compared with AWS in time");
        }
        self.metrics.compared(answered);
        self.metrics.unanswered(rows.len().saturating_sub(answered));
        differing
    }

    async fn batch(
        &self,
        user: &UserAws,
        rows: &[&WatchedDeployment],
        differing: &mut Vec<String>,
    ) -> Result<(), ClientError> {
        let ids: Vec<&RolloutId> = rows.iter().map(|row| &row.rollout).collect();
        let seen = user.observe_all(&ids).await?;
        for row in rows {
            let found = seen.get(&row.rollout);
            let differs = match (compare(row, found), found) {
                (Comparison::Same, _) => false,
                (Comparison::Unclear, Some(found)) => {
                    user.rollout(&row.rollout).traffic(found, false).await?.at != Traffic::NeverSent
                }
                (Comparison::Differs | Comparison::Unclear, _) => true,
            };
            if differs {
                differing.push(row.id.clone());
            }
        }
        Ok(())
    }
}
