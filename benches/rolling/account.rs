//! Final account from the tables and the sandbox: repeated or missing work, and the longest stand-still.

use std::time::Duration;

use panda::domain::history::{Memory, Reader};
use panda::domain::names::Names;
use sqlx::{Executor as _, PgConnection};

use crate::load::DEPLOYED;
use crate::until;
use panda_benches::sandbox::SandboxProcess;

/// Time limit of the last changes after the histories show them.
const LAST_NEWS: Duration = Duration::from_secs(30);

/// Totals over all deployments that follow an execution.
pub struct Account {
    /// Deployments whose events do not equal the events of the history, in its order.
    pub wrong_events: usize,
    /// Changes of rows without new history, new owner or first poll: the same history acted on again.
    pub unexplained: i64,
    /// Steps that ended more than once, and rules and targets that were put more than once.
    pub twice: usize,
    /// Number of releases of deployments.
    pub handed_over: i64,
    /// Number of deployments taken over from a silent replica.
    pub lost: i64,
    /// Longest time from a release to the next claim, in seconds.
    pub unowned: f64,
}

/// Makes the database record every change of a deployment that follows an execution.
pub async fn watch(look: &mut PgConnection) {
    let watching = "
        CREATE TABLE bench_changes (id text, news boolean, owner boolean, first_look boolean);
        CREATE FUNCTION bench_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO bench_changes VALUES (new.id, coalesce((new.facts ->> 'last_history_event_id')::bigint, 0) > coalesce((old.facts ->> 'last_history_event_id')::bigint, 0),
                new.replica_id IS DISTINCT FROM old.replica_id, old.waiting_for IS NULL AND new.waiting_for IS NOT NULL);
            RETURN NULL;
        END $$;
        CREATE TRIGGER bench_change AFTER UPDATE ON deployments FOR EACH ROW WHEN (old.step = 'follow_execution')
            EXECUTE FUNCTION bench_change();";
    look.execute(watching).await.unwrap();
}

#[derive(sqlx::FromRow)]
struct Followed {
    given: i64,
    lost: i64,
    codes: Vec<String>,
}

/// Waits until everything in the histories is acted on, and then takes the account.
pub async fn settle(look: &mut PgConnection, sandbox: &SandboxProcess, last_arn: &str, count: usize) -> Account {
    let reading =
        Reader { names: &Names::default(), accounts: &[] }.read(&sandbox.history(last_arn).await, 0, Memory::default());
    let last = reading.facts.last_history_event_id.unwrap();
    let expected: Vec<String> = reading.events.iter().map(|event| event.code.as_str().to_owned()).collect();
    let behind = "SELECT count(*) FROM deployments WHERE active AND (step <> 'bench' AND coalesce((facts ->> 'last_history_event_id')::bigint, 0) < $1)";
    let settled = until(LAST_NEWS, async || {
        let behind: i64 = sqlx::query_scalar(behind).bind(last).fetch_one(&mut *look).await.unwrap();
        behind == 0
    });
    assert!(settled.await, "not all news was acted on");

    let followed: Vec<Followed> = sqlx::query_as(
        "SELECT (SELECT count(*) FROM step_runs r WHERE r.deployment_id = d.id AND r.outcome = 'handed_over') AS given,
                (SELECT count(*) FROM step_runs r WHERE r.deployment_id = d.id AND r.outcome = 'lost') AS lost,
                ARRAY (SELECT code FROM deployment_events e WHERE e.deployment_id = d.id ORDER BY seq) AS codes
         FROM deployments d WHERE d.step = 'follow_execution'",
    )
    .fetch_all(&mut *look)
    .await
    .unwrap();
    assert_eq!(followed.len(), count, "all are followed still");
    // The first poll has no changes and sets `waiting_for`.
    let unexplained = "SELECT count(*) FROM bench_changes WHERE NOT news AND NOT owner AND NOT first_look";
    let unexplained: i64 = sqlx::query_scalar(unexplained).fetch_one(&mut *look).await.unwrap();
    let news: i64 = sqlx::query_scalar("SELECT count(DISTINCT id) FROM bench_changes WHERE news")
        .fetch_one(&mut *look)
        .await
        .unwrap();
    assert_eq!(usize::try_from(news).unwrap(), count, "the changes were written down");
    Account {
        wrong_events: followed.iter().filter(|row| row.codes != expected).count(),
        unexplained,
        twice: steps_twice(look).await + effects_twice(sandbox).await,
        handed_over: followed.iter().map(|row| row.given).sum(),
        lost: followed.iter().map(|row| row.lost).sum(),
        unowned: unowned(look).await,
    }
}

/// Counts steps of the created deployments that succeeded more than once.
async fn steps_twice(look: &mut PgConnection) -> usize {
    let all_ended = "SELECT count(*) FROM deployments WHERE owner = $1 AND active";
    let ended = until(LAST_NEWS, async || {
        let running: i64 = sqlx::query_scalar(all_ended).bind(DEPLOYED).fetch_one(&mut *look).await.unwrap();
        running == 0
    });
    assert!(ended.await, "a deployment that was asked for has not ended");
    let twice: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(n - 1), 0)::bigint FROM (
             SELECT count(*) AS n FROM step_runs WHERE outcome NOT IN ('handed_over', 'lost') GROUP BY deployment_id, attempt, step) runs",
    )
    .fetch_one(look)
    .await
    .unwrap();
    usize::try_from(twice).unwrap()
}

/// Counts their rules and targets that were put to AWS more than once.
async fn effects_twice(sandbox: &SandboxProcess) -> usize {
    let effects = sandbox.effects().await;
    let theirs = effects.repositories.iter().filter(|(name, _)| name.starts_with(DEPLOYED));
    let puts = theirs.flat_map(|(_, one)| one.rules.values().chain(one.targets.values()));
    let more: u32 = puts.map(|times| times.saturating_sub(1)).sum();
    more as usize
}

/// Returns the longest time in seconds from the release of a followed deployment to its next claim.
async fn unowned(look: &mut PgConnection) -> f64 {
    sqlx::query_scalar(
        "SELECT coalesce(max(extract(epoch FROM coalesce(
                    (SELECT min(n.started_at) FROM step_runs n WHERE n.deployment_id = r.deployment_id AND n.version > r.version),
                    d.run_started_at) - r.ended_at)), 0)::float8
         FROM step_runs r JOIN deployments d ON d.id = r.deployment_id WHERE r.outcome = 'handed_over'",
    )
    .fetch_one(look)
    .await
    .unwrap()
}
