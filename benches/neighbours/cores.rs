//! Reports on a separate processor core, as on a database server with a free core: `PANDA_BENCH_FREE_CORE=1`.
//!
//! Everything else shares the first core, in the undisturbed phase as well. Without this, a report occupies a core that the reconciler, the sandbox and
//! Postgres use too, and the figures show the machine's scheduler rather than Panda.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use panda_benches::postgres::Database;
use tokio_util::task::AbortOnDropHandle;

const SHARED: &str = "0";
const FREE: &str = "1";

fn wanted() -> bool {
    std::env::var_os("PANDA_BENCH_FREE_CORE").is_some()
}

/// Keeps this process, and those that it starts, on the first core.
pub fn share_one() {
    if wanted() {
        pin(std::process::id(), SHARED);
    }
}

/// Lets the neighbours' clients use the other core.
pub fn free(process: u32) {
    if wanted() {
        pin(process, FREE);
    }
}

/// Lets the sessions that run reports use the other core, until the handle is dropped.
pub async fn free_reports(database: &Database) -> Option<AbortOnDropHandle<()>> {
    if !wanted() {
        return None;
    }
    let mut look = database.look().await;
    Some(AbortOnDropHandle::new(tokio::spawn(async move {
        let mut known = BTreeSet::new();
        loop {
            // Reports have dedicated sessions, so that a session that ran a report runs nothing else.
            let sql = "SELECT pid FROM pg_stat_activity WHERE starts_with(query, 'SELECT * FROM (SELECT ')";
            let sessions: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&mut look).await.unwrap();
            sessions.into_iter().filter(|pid| known.insert(*pid)).for_each(|pid| pin(pid.unsigned_abs(), FREE));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })))
}

fn pin(process: u32, core: &str) {
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", core, &process.to_string()]).output().unwrap();
    assert!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
}
