//! What the tables and the sandbox say afterwards: was anything done twice, or left out, and how long did anything stand still.

use std::time::Duration;

use panda::domain::names::Names;
use panda::domain::pipeline;
use sqlx::{Executor as _, PgConnection};

use crate::load::DEPLOYED;
use crate::support::sandbox::SandboxProcess;
use crate::until;

/// How long the last news may take after the histories show it.
const LAST_NEWS: Duration = Duration::from_secs(30);

/// What is told once for all deployments that follow an execution.
pub struct Account {
    /// Deployments whose events are not exactly those of the history, in its order.
    pub wrong_events: usize,
    /// Changes of them that brought no news, no other owner and no first look: the same acted on again.
    pub unexplained: i64,
    /// Steps that ended more than once, and rules and targets that were put more often than once.
    pub twice: usize,
    /// Times that a deployment was given back.
    pub handed_over: i64,
    /// Times that one was taken from a replica that had gone silent.
    pub lost: i64,
    /// From giving back to the next claim, the longest.
    pub unowned: f64,
}

/// From now on, every change of a deployment that follows an execution is written down, by the database itself.
pub async fn watch(look: &mut PgConnection) {
    let watching = "
        CREATE TABLE bench_changes (id text, news boolean, owner boolean, first_look boolean);
        CREATE FUNCTION bench_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO bench_changes VALUES (new.id, new.last_history_event_id > old.last_history_event_id,
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

/// Waits until all that the histories show is acted on, then looks.
pub async fn settle(look: &mut PgConnection, sandbox: &SandboxProcess, last_arn: &str, count: usize) -> Account {
    let reading = pipeline::read(&sandbox.history(last_arn).await, &Names::default(), false);
    let last = reading.learned.last_history_event_id.unwrap();
    let expected: Vec<String> = reading.events.iter().map(|event| event.code.as_str().to_owned()).collect();
    let behind = "SELECT count(*) FROM deployments WHERE active AND (step <> 'bench' AND last_history_event_id < $1)";
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
    // The first look, which has no news, says what it waits for.
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

/// Steps of the deployments that were asked for which ended well more than once.
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

/// Rules and targets of theirs that AWS was told of more often than once.
async fn effects_twice(sandbox: &SandboxProcess) -> usize {
    let effects = sandbox.effects().await;
    let theirs = effects.repositories.iter().filter(|(name, _)| name.starts_with(DEPLOYED));
    let puts = theirs.flat_map(|(_, one)| one.rules.values().chain(one.targets.values()));
    let more: u32 = puts.map(|times| times.saturating_sub(1)).sum();
    more as usize
}

/// Seconds from the giving back of a followed deployment to the next claim, the longest.
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
