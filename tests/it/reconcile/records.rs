//! Records for operators: durations of steps, and reasons of retries.

use std::collections::BTreeMap;

use panda_sandbox::{CallFault, Faults};
use sqlx::Row;

use super::{Replica, deploy, status};
use crate::support::environment::{Environment, hello};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn step_runs__recorded_with_tries() {
    let env = Environment::with_files(hello("2.0.0")).await;
    let throttled = CallFault { fail: 40, ..CallFault::default() };
    let calls = [("events:PutRule".to_owned(), throttled)].into();
    env.sandbox.faults().set(Faults { calls, ..Faults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy(&env, "main").await;
    crate::support::wait_for("the step is retried", async || {
        let sql = "SELECT reason, error_code, tries FROM step_runs WHERE deployment_id = $1 AND outcome = 'retry'";
        let row = sqlx::query(sql).bind(&id).fetch_optional(&mut env.db.psql().await).await.unwrap()?;
        assert!(row.get::<String, _>("reason").contains("PutRule"));
        assert_eq!((row.get::<String, _>("error_code").as_str(), row.get::<i32, _>("tries")), ("EVENT_RULE_FAILED", 2));
        Some(())
    })
    .await;
    env.sandbox.faults().set(Faults::default());
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
    let sql = "SELECT step, outcome, replica_name IS NOT NULL, ended_at >= started_at FROM step_runs
               WHERE deployment_id = $1 AND outcome <> 'retry' ORDER BY version";
    let rows = sqlx::query(sql).bind(&id).fetch_all(&mut env.db.psql().await).await.unwrap();
    let runs: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let runs: Vec<(&str, &str)> = runs.iter().map(|(step, outcome)| (step.as_str(), outcome.as_str())).collect();
    assert_eq!(
        runs,
        [
            ("ensure_event_rule", "next"),
            ("grant_event_bus", "next"),
            ("fetch_source", "next"),
            ("build_image", "next"),
            ("push_image", "next"),
            ("find_execution", "next"),
            ("follow_execution", "next"),
            ("verify_green", "ready"),
        ]
    );
    assert!(rows.iter().all(|row| row.get::<bool, _>(2) && row.get::<bool, _>(3)));

    let mut answers = BTreeMap::new();
    for (heading, query) in documented() {
        let query = query.replace("dep_…", &id);
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&mut env.db.psql().await).await;
        answers.insert(heading, rows.unwrap_or_else(|error| panic!("{heading}: {error}")));
    }
    let long = &answers["What took so long"];
    let retried = &answers["Why did it retry"];
    assert_eq!(long.len(), runs.len() + 1, "one record per run");
    let codes: Vec<Option<String>> = retried.iter().map(|row| row.get("error_code")).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| code.as_deref() == Some("EVENT_RULE_FAILED")), "{codes:?}");
    assert!(answers["Which attempts there were"].is_empty(), "the first attempt is the row itself");
    assert_eq!((answers["Who waits for whom"].len(), answers["What is under way"].len()), (1, 1));
}

/// The queries of docs/operations.md with their headings: a query that an operator copies must work.
fn documented() -> Vec<(&'static str, String)> {
    let text = include_str!("../../../docs/operations.md");
    let mut queries = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap();
        for block in section.split("```sql\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let each = block.split(';').map(str::trim).filter(|query| !query.is_empty());
            queries.extend(each.map(|query| (heading, query.to_owned())));
        }
    }
    assert!(queries.len() >= 5, "{queries:?}");
    queries
}
