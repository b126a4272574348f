//! Removes what Panda left in AWS for removed connections: the rules in the user's account, and the account's statement in the policy of the event
//! bus.
//!
//! Everything is looked up before it is removed. A rule is removed if its name, description and target are Panda's and no existing connection deploys
//! that repository; a statement if no existing connection is of that account.
//!
//! # A crash at any line
//! `cleanup_since` marks a connection until nothing is left, so that the next run of any replica finds it again. Removing is idempotent. The lock of
//! the target keeps a deployment of the same repository from starting between the look-up and the removal; it would put the rule again.
//!
//! Removing rules needs the connection's credentials. They stay for [`SECRETS_FOR`] at most, while AWS is unavailable; then, or where AWS denies the
//! calls, they are erased and a log line names what is left.

use std::sync::Arc;
use std::time::Duration;

use super::every::{Next, Periodic, Trigger};
use crate::clients::aws::{Aws, UserAws};
use crate::clients::{ClientError, ErrorKind};
use crate::db::connections::cleanup::{Leftover, is_deployed_by_another};
use crate::db::queue::lock_target;
use crate::db::{Db, DbError};
use crate::domain::bus_policy::{BusPolicy, statement_ids};
use crate::domain::connection::AwsConnection;
use crate::domain::names::{RULE_TARGET_ID, permission_statement};
use crate::steps::{BUS_POLICY_LOCK, Services};

/// Time for which a removed connection keeps its credentials so that its rules can be removed.
const SECRETS_FOR: Duration = Duration::from_hours(1);

/// Connections handled in one run.
const BATCH: i64 = 20;

/// Lease of one run: one replica at a time.
const LOCK: &str = "panda:connection-cleanup";

/// Length of a lease.
const LEASE: Duration = Duration::from_secs(30);

pub(super) struct ConnectionCleanup {
    pub(super) db: Db,
    pub(super) services: Arc<Services>,
}

impl Periodic for ConnectionCleanup {
    const NAME: &'static str = "removal of rules of removed connections";
    const ON_ERROR: &'static str = "rules of removed connections not removed";

    async fn run(&mut self, _trigger: Trigger) -> Result<Next, DbError> {
        remove_leftovers(&self.db, &self.services).await.map(|()| Next::Period)
    }
}

/// Why something is left.
enum Left {
    /// A later try may succeed.
    ForNow(String),
    /// AWS refuses: another try would fail as well.
    ForGood(String),
}

impl From<ClientError> for Left {
    fn from(error: ClientError) -> Self {
        match error.kind {
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict => Self::ForNow(error.to_string()),
            _ => Self::ForGood(error.to_string()),
        }
    }
}

/// Removes what is left in AWS of removed connections, unless another replica is doing so.
///
/// # Errors
/// The database cannot be read or written. An error of AWS is logged, and affects one connection.
pub async fn remove_leftovers(db: &Db, services: &Services) -> Result<(), DbError> {
    let leftovers = db.connections_to_clean(SECRETS_FOR, BATCH).await?;
    if leftovers.is_empty() {
        return Ok(());
    }
    let Some(lock) = db.try_lock(LOCK, LEASE).await? else { return Ok(()) };
    let removing = async {
        for leftover in &leftovers {
            remove(db, services, leftover).await?;
        }
        Ok::<(), DbError>(())
    };
    tokio::select! {
        () = lock.lost() => Ok(()),
        removed = removing => removed,
    }
}

async fn remove(db: &Db, services: &Services, leftover: &Leftover) -> Result<(), DbError> {
    let (connection, account) = (&leftover.id, &leftover.account_id);
    if leftover.has_secrets {
        match remove_rules(db, services, leftover).await? {
            Ok(()) => {}
            Err(Left::ForNow(reason)) if !leftover.is_overdue => {
                tracing::info!(
                    connection,
                    account,
                    reason,
                    "event rules of the removed connection not removed yet, retrying"
                );
                return Ok(());
            }
            Err(Left::ForNow(reason) | Left::ForGood(reason)) => {
                let region = &leftover.region;
                tracing::warn!(
                    connection,
                    account,
                    region,
                    reason,
                    "event rules of the removed connection stay in AWS, remove them there"
                );
            }
        }
        db.erase_secrets_of_removed(connection).await?;
    }
    match remove_statement(db, services, account).await? {
        Ok(()) => {}
        Err(Left::ForNow(reason)) => {
            tracing::info!(
                connection,
                account,
                reason,
                "statement of the removed connection's account not removed yet, retrying"
            );
            return Ok(());
        }
        Err(Left::ForGood(reason)) => {
            let statement = permission_statement(account);
            tracing::warn!(
                connection,
                account,
                statement,
                reason,
                "statement of the removed connection's account stays in the bus policy, remove it there"
            );
        }
    }
    db.end_cleanup(connection).await
}

/// Removes the rules of the connection's account and region that no existing connection needs.
async fn remove_rules(db: &Db, services: &Services, leftover: &Leftover) -> Result<Result<(), Left>, DbError> {
    let connection = match db.connection_to_clean(&leftover.id).await {
        Ok(Some(connection)) => connection,
        Ok(None) => return Ok(Ok(())),
        Err(error) if error.is_unavailable() => return Err(error),
        // A key service does not answer, or the key was removed.
        Err(error) => return Ok(Err(Left::ForNow(error.to_string()))),
    };
    let user = services.aws.user_of(&connection, &connection.region);
    let bus = match services.aws.controller().bus.describe(&services.settings.event_bus).await {
        Ok(bus) => bus.arn,
        Err(error) => return Ok(Err(error.into())),
    };
    let repositories = match repositories(db, services, &connection, &user).await? {
        Ok(repositories) => repositories,
        Err(error) => return Ok(Err(error.into())),
    };
    for (owner, repo) in repositories {
        if let Err(error) = remove_rule(db, services, (&connection, &user, &bus), (&owner, &repo)).await? {
            return Ok(Err(error.into()));
        }
    }
    Ok(Ok(()))
}

/// Repositories of Panda's rules in the account; those that the connection has deployed where rules cannot be listed.
async fn repositories(
    db: &Db,
    services: &Services,
    connection: &AwsConnection,
    user: &UserAws,
) -> Result<Result<Vec<(String, String)>, ClientError>, DbError> {
    match user.rules.list(&connection.account_id, &connection.region).await {
        Ok(rules) => Ok(Ok(rules
            .iter()
            .filter_map(|rule| services.names.repository_of_rule(&rule.name, rule.description.as_deref()?))
            .map(|(owner, repo)| (owner.to_owned(), repo.to_owned()))
            .collect())),
        Err(error) if error.kind == ErrorKind::Denied => db.repositories_of_connection(&connection.id).await.map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Removes the rule of a repository, unless it leads elsewhere or an existing connection deploys the repository.
async fn remove_rule(
    db: &Db,
    services: &Services,
    (connection, user, bus): (&AwsConnection, &UserAws, &str),
    (owner, repo): (&str, &str),
) -> Result<Result<(), ClientError>, DbError> {
    let (account, region) = (&connection.account_id, &connection.region);
    let Ok(repository) = services.names.ecr_repository(owner, repo) else { return Ok(Ok(())) };
    // Held until the rule is removed: a deployment that starts afterwards puts it again.
    let mut tx = db.begin().await?;
    lock_target(&mut tx, account, region, &repository).await?;
    if is_deployed_by_another(&mut tx, (account, region, &repository), (owner, repo)).await? {
        return Ok(Ok(()));
    }
    let rule = services.names.rule(owner, repo);
    let removed = remove_own_rule(user, &rule, bus).await;
    if let Ok(true) = removed {
        tracing::info!(account, region, rule, "event rule of a removed connection removed");
    }
    Ok(removed.map(drop))
}

/// Removes a rule whose only target is Panda's. Returns true if it was there.
async fn remove_own_rule(user: &UserAws, rule: &str, bus: &str) -> Result<bool, ClientError> {
    if user.rules.describe_rule(rule).await?.is_none() {
        return Ok(false);
    }
    let targets = user.rules.targets(rule).await?;
    let (ours, others): (Vec<_>, Vec<_>) =
        targets.iter().partition(|target| target.id == RULE_TARGET_ID && target.arn == bus);
    if !ours.is_empty() {
        user.rules.remove_target(rule, RULE_TARGET_ID).await?;
    }
    if others.is_empty() {
        user.rules.delete_rule(rule).await?;
    }
    Ok(others.is_empty())
}

/// Removes the account's statement from the policy of the event bus, unless a connection to the account exists or others manage the policy.
async fn remove_statement(db: &Db, services: &Services, account: &str) -> Result<Result<(), Left>, DbError> {
    if services.settings.bus_policy == BusPolicy::Managed {
        return Ok(Ok(()));
    }
    let Some(lock) = db.try_lock(BUS_POLICY_LOCK, LEASE).await? else {
        return Ok(Err(Left::ForNow("another replica changes the bus policy".to_owned())));
    };
    // Under the lock: a deployment of a new connection to the account reads the policy afterwards, and adds the statement again.
    if db.has_connection_to(account).await? {
        return Ok(Ok(()));
    }
    let (bus, statement) = (&services.settings.event_bus, permission_statement(account));
    tokio::select! {
        () = lock.lost() => Ok(Err(Left::ForNow("the lease of the bus policy was lost".to_owned()))),
        removed = remove_own_statement(&services.aws, bus, &statement) => Ok(removed),
    }
}

async fn remove_own_statement(aws: &Aws, bus_name: &str, statement: &str) -> Result<(), Left> {
    let bus = &aws.controller().bus;
    if !statement_ids(bus.describe(bus_name).await?.policy.as_ref()).contains(&statement) {
        return Ok(());
    }
    bus.remove_statement(bus_name, statement).await?;
    // A parallel change of another program may have written the old policy again.
    if statement_ids(bus.describe(bus_name).await?.policy.as_ref()).contains(&statement) {
        return Err(Left::ForNow(format!("statement {statement} is still in the policy")));
    }
    tracing::info!(
        bus = bus_name,
        statement,
        "statement of a removed connection's account removed from the bus policy"
    );
    Ok(())
}
