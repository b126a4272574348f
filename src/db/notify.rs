//! Notifications: hints that new rows can be read. A lost notification costs a second of delay, never an event.

use std::time::Duration;

use sqlx::postgres::PgListener;

use super::{Db, DbError};

/// Payload: ids of deployments with new events, separated by spaces.
pub const EVENTS_CHANNEL: &str = "panda_events";

/// Payload: the id of a deployment that a reconciler should check.
pub const WORK_CHANNEL: &str = "panda_work";

/// Postgres takes payloads below 8,000 bytes.
const MAX_PAYLOAD: usize = 7_900;

/// Time limit of connecting a listener, before the caller retries.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);

impl Db {
    /// Notifies streams of new events of these deployments.
    pub async fn notify_events(&self, ids: &[String]) -> Result<(), DbError> {
        for payload in payloads(ids) {
            sqlx::query!("SELECT pg_notify($1, $2) AS \"sent: _\"", EVENTS_CHANNEL, payload)
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Notifies reconcilers that this deployment has work.
    pub async fn notify_work(&self, id: &str) -> Result<(), DbError> {
        sqlx::query!("SELECT pg_notify($1, $2) AS \"sent: _\"", WORK_CHANNEL, id).execute(&self.pool).await?;
        Ok(())
    }

    /// Returns a listener that is already listening on `channel`. It uses a dedicated connection: a pooled connection that the network drops silently
    /// would occupy a slot until the kernel closes it.
    ///
    /// # Errors
    /// [`DbError::NotificationsUnavailable`] where notifications do not arrive: LISTEN through a pooler would disturb another session.
    pub async fn listen(&self, channel: &str) -> Result<PgListener, DbError> {
        if !self.connector.delivers_notifications().await? {
            return Err(DbError::NotificationsUnavailable);
        }
        let mut listener = self.connector.listener(LISTEN_TIMEOUT).await?;
        listener.listen(channel).await?;
        Ok(listener)
    }

    /// Checks the listener's connection: without traffic, a dead one looks like a quiet one.
    pub async fn ping_listener(listener: &mut PgListener) -> Result<(), DbError> {
        sqlx::query!("SELECT 1 AS one").fetch_one(listener).await?;
        Ok(())
    }
}

/// Joins ids into as few payloads as possible.
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
    fn splits_ids_below_payload_limit() {
        let ids: Vec<String> = (0..1_000).map(|n| format!("dep_{n:020}")).collect();
        let payloads = payloads(&ids);
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        let back: Vec<&str> = payloads.iter().flat_map(|payload| payload.split(' ')).collect();
        assert_eq!(back, ids);
    }
}
