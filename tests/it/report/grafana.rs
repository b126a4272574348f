//! The dashboard of the history: every query, as Grafana would send it, runs for a reporter.

use sqlx::{AssertSqlSafe, Executor};

use super::{reporter, upgrade};
use crate::support::dashboard::{panels, read, targets};

/// Replaces macros and variables as Grafana's PostgreSQL source does, for one day and two values of each variable.
fn as_sent(raw: &str) -> String {
    let (from, to) = ("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z");
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
    for (variable, values) in [("owner", "'panda','other'"), ("repo", "'hello','it''s'"), ("branch", "'main','dev'")] {
        sql = sql.replace(&format!("${{{variable}:sqlstring}}"), values);
    }
    assert!(!sql.contains('$'), "a variable is not replaced: {sql}");
    sql
}

#[tokio::test]
async fn grafana__every_dashboard_query_finds_rows() {
    let test = upgrade::brought_up().await;
    let mut reporter = reporter(&test).await;
    let dashboard = read("reports.json");
    let mut found = 0;
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        for target in targets(panel) {
            let sql = as_sent(target["rawSql"].as_str().unwrap());
            let rows =
                reporter.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap_or_else(|e| panic!("{title}: {e}\n{sql}"));
            assert!(!rows.is_empty(), "{title} shows nothing:\n{sql}");
            if target["format"] == "time_series" {
                assert_eq!(sqlx::Column::name(sqlx::Row::column(&rows[0], 0)), "time", "{title}");
            }
            found += 1;
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        let sql = as_sent(variable["query"].as_str().unwrap());
        assert!(!reporter.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap().is_empty(), "{sql}");
        found += 1;
    }
    assert!(found >= 12, "{found}");
}
