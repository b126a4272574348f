//! Reads the connections of deployments: of all claimed deployments in one query, or of a single deployment that the query missed.

use std::collections::HashMap;

use super::driver::Driver;
use super::limits::{RETRY_BASE, RETRY_CAP};
use crate::db::{Db, DbError};
use crate::domain::Deployment;
use crate::domain::backoff;
use crate::domain::connection::{AwsConnection, GithubConnection};
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;

/// Connections by id. Dropped once the tasks are started: a connection may be replaced at any time.
#[derive(Default)]
pub(super) struct Connections {
    github: HashMap<String, GithubConnection>,
    aws: HashMap<String, AwsConnection>,
}

impl Connections {
    /// Reads the connections that `rows` name. Missing or unreadable ones are left out.
    pub(super) async fn of(db: &Db, rows: &[Deployment]) -> Result<Self, DbError> {
        let ids = |id: fn(&Deployment) -> &String| {
            let mut ids: Vec<String> = rows.iter().map(|row| id(row).clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let github = db.github_connections_of(&ids(|row| &row.github_connection_id)).await?;
        let aws = db.aws_connections_of(&ids(|row| &row.aws_connection_id)).await?;
        // The driver of a deployment whose connection is left out reads it again and logs the error.
        Ok(Self {
            github: github.into_iter().flatten().map(|connection| (connection.id.clone(), connection)).collect(),
            aws: aws.into_iter().flatten().map(|connection| (connection.id.clone(), connection)).collect(),
        })
    }

    /// Both connections of `deployment`; `None` when one is missing.
    pub(super) fn get(&self, deployment: &Deployment) -> Option<(GithubConnection, AwsConnection)> {
        let github = self.github.get(&deployment.github_connection_id)?;
        let aws = self.aws.get(&deployment.aws_connection_id)?;
        Some((github.clone(), aws.clone()))
    }
}

impl Driver {
    /// The deployment's present connections, if one of them has other credentials than `used`: the old ones may have caused the error.
    pub(super) async fn renewed(
        &self,
        deployment: &Deployment,
        used: &(GithubConnection, AwsConnection),
    ) -> Result<Option<(GithubConnection, AwsConnection)>, DbError> {
        let github = self.db.github_connection(&deployment.github_connection_id).await;
        let aws = self.db.aws_connection(&deployment.aws_connection_id).await;
        match (github, aws) {
            (Ok(Some(github)), Ok(Some(aws))) => {
                let same = github.signs_in_as(&used.0) && aws.acts_as(&used.1);
                Ok((!same).then_some((github, aws)))
            }
            (Err(error), _) | (_, Err(error)) if error.is_unavailable() => Err(error),
            _ => Ok(None),
        }
    }

    /// Reads the deployment's connections, and retries while the database fails. Fails the deployment when a connection no longer exists.
    pub(super) async fn connections(
        &mut self,
        deployment: &mut Deployment,
    ) -> Option<(GithubConnection, AwsConnection)> {
        if let Some(connections) = self.connections.take() {
            return Some(connections);
        }
        let mut tries = 0;
        loop {
            let github = self.db.github_connection(&deployment.github_connection_id).await;
            let aws = self.db.aws_connection(&deployment.aws_connection_id).await;
            match (github, aws) {
                (Ok(Some(github)), Ok(Some(aws))) => return Some((github, aws)),
                (Ok(None), Ok(_)) | (Ok(_), Ok(None)) => {
                    let removed = message!("reason.connection_removed");
                    self.fail(deployment, ErrorCode::ConnectionUnusable, removed).await;
                    return None;
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, step = deployment.step, "connections of the deployment not read, retrying");
                }
            }
            tries += 1;
            tokio::select! {
                () = tokio::time::sleep(backoff::delay(tries, RETRY_BASE, RETRY_CAP, rand::random())) => {}
                () = self.stop.cancelled() => return None,
            }
        }
    }
}
