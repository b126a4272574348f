//! The dashboard of the history: every query, as Grafana would send it, runs for a reporter.

use sqlx::{AssertSqlSafe, Executor};

use super::{figures, reporter};
use crate::support::dashboard::{panels, read, targets};

/// Replaces macros and variables as Grafana's PostgreSQL source does, for a month and two values of each variable.
fn as_sent(raw: &str) -> String {
    let (from, to) = ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z");
    let mut sql = raw.replace("$__interval", "'3600s'");
    while let Some((before, rest)) = sql.split_once("$__timeFilter(") {
        let (column, after) = rest.split_once(')').unwrap();
        sql = format!("{before}{column} BETWEEN '{from}' AND '{to}'{after}");
    }
    while let Some((before, rest)) = sql.split_once("$__timeGroupAlias(") {
        let (arguments, after) = rest.split_once(')').unwrap();
        let (column, _) = arguments.split_once(',').unwrap();
        sql = format!("{before}floor(extract(epoch from {column})/3600)*3600 AS \"time\"{after}");
    }
    for (variable, values) in [
        ("owner", "'acme','other'"),
        ("repo", "'shop','it''s'"),
        ("branch", "'main','dev'"),
        ("team", "'payments','(none)'"),
    ] {
        sql = sql.replace(&format!("${{{variable}:sqlstring}}"), values);
    }
    assert!(!sql.contains('$'), "a variable is not replaced: {sql}");
    sql
}

/// A deployment that waited in the queue and for its approval, with a run of a step.
const WAITS: &str = "
    UPDATE deployments SET queued_at = '2026-01-05T08:00:00Z', turn_at = '2026-01-05T08:30:00Z', ready_at = '2026-01-05T09:00:00Z',
                           switch_requested_at = '2026-01-05T09:45:00Z' WHERE id = 'dep_a1';
    INSERT INTO step_runs (deployment_id, version, attempt, step, replica_id, started_at, ended_at, outcome)
    VALUES ('dep_a1', 1, 1, 'build_image', gen_random_uuid(), '2026-01-05T08:40:00Z', '2026-01-05T08:50:00Z', 'next')";

#[tokio::test]
async fn grafana__every_dashboard_query_finds_rows() {
    let test = figures::filled().await;
    test.psql().await.execute(WAITS).await.unwrap();
    let mut reporter = reporter(&test).await;
    let dashboard = read("reports.json");
    let (mut found, mut empty) = (0, Vec::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        for target in targets(panel) {
            let sql = as_sent(target["rawSql"].as_str().unwrap());
            let rows =
                reporter.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap_or_else(|e| panic!("{title}: {e}\n{sql}"));
            match rows.first() {
                Some(row) if target["format"] == "time_series" => {
                    assert_eq!(sqlx::Column::name(sqlx::Row::column(row, 0)), "time", "{title}");
                }
                Some(_) => {}
                None => empty.push(format!("{title}:\n{sql}")),
            }
            found += 1;
        }
    }
    assert!(empty.is_empty(), "these show nothing:\n{}", empty.join("\n"));
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        let sql = as_sent(variable["query"].as_str().unwrap());
        assert!(!reporter.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap().is_empty(), "{sql}");
        found += 1;
    }
    assert!(found >= 12, "{found}");
}
