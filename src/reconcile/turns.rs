//! Whose turn it is at a target whose deployment has ended.

use crate::db::Db;
use crate::domain::news::News;

/// What keeps turns from being given.
static GIVING: News = News::new();

/// Gives free targets to those that wait for them. Called when a deployment has ended, and now and then by the sweep: the process may
/// have died in between.
pub(super) async fn give(db: &Db) {
    let given = match db.give_turns().await {
        Ok(given) => given,
        Err(error) if GIVING.are(&error) => {
            return tracing::warn!(%error, "turns could not be given; the sweep will do it");
        }
        Err(_) => return,
    };
    for id in given {
        // Not within the deployment whose end makes room.
        tracing::info!(parent: None, deployment = id, "its turn has come");
        if let Err(error) = db.notify_work(&id).await {
            tracing::debug!(%error, "a notification was lost; the sweep finds the row");
        }
    }
}
