//! Notifications: hints that there is something to read. Losing one costs a second, never an event.

use std::time::Duration;

use sqlx::postgres::PgListener;

use super::{Db, DbError};

/// Payload: ids of deployments with new events, separated by spaces.
pub const EVENTS_CHANNEL: &str = "panda_events";

/// Payload: the id of a deployment that a reconciler should look at.
pub const WORK_CHANNEL: &str = "panda_work";

/// Postgres takes payloads below 8,000 bytes.
const MAX_PAYLOAD: usize = 7_900;

/// How long a new listener may take to connect, before it is tried anew.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);

impl Db {
    /// Says that these deployments have new events.
    pub async fn notify_events(&self, ids: &[String]) -> Result<(), DbError> {
        for payload in payloads(ids) {
            sqlx::query!("SELECT pg_notify($1, $2) AS \"sent: _\"", EVENTS_CHANNEL, payload)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Says that a reconciler should look at this deployment.
    pub async fn notify_work(&self, id: &str) -> Result<(), DbError> {
        sqlx::query!("SELECT pg_notify($1, $2) AS \"sent: _\"", WORK_CHANNEL, id).execute(&self.pool).await?;
        Ok(())
    }

    /// A listener on `channel`, listening when this returns. Its connection is its own: one that the network has swallowed
    /// would hold a place in the pool until the kernel gives it up.
    ///
    /// # Errors
    /// [`DbError::Deaf`] where notifications do not arrive: LISTEN through a pooler would disturb another session.
    pub async fn listen(&self, channel: &str) -> Result<PgListener, DbError> {
        if !self.connector.hears().await? {
            return Err(DbError::Deaf);
        }
        let mut listener = self.connector.listener(LISTEN_TIMEOUT).await?;
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// Whether the listener's connection is still there: a silent one looks like a dead one.
    pub async fn ping_listener(listener: &mut PgListener) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(listener).await?;
        Ok(())
    }
}

/// Joins ids into as few payloads as fit.
fn payloads(ids: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for id in ids {
        match out.last_mut() {
            Some(last) if last.len() + 1 + id.len() <= MAX_PAYLOAD => {
                last.push(' ');
                last.push_str(id);
            }
            _ => out.push(id.clone()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ids_are_split_below_the_limit_of_postgres() {
        let ids: Vec<String> = (0..1_000).map(|n| format!("dep_{n:020}")).collect();
        let payloads = payloads(&ids);
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        let back: Vec<&str> = payloads.iter().flat_map(|payload| payload.split(' ')).collect();
        assert_eq!(back, ids);
    }
}
