//! The Grafana dashboard: every query of it, as Grafana would send it, runs for a reporter.

use std::collections::BTreeSet;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};

use super::{reporter, upgrade};

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/panda/dashboards/reports.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What Grafana's PostgreSQL source makes of macros and variables, for one day and two values of each variable.
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
    assert!(!sql.contains('$'), "something is not replaced: {sql}");
    sql
}

#[tokio::test]
async fn every_query_of_the_dashboard_runs_and_finds_something() {
    let test = upgrade::brought_up().await;
    let mut reporter = reporter(&test).await;
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut found = 0;
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
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

#[test]
fn the_dashboard_asks_the_source_that_is_chosen_and_places_each_panel_once() {
    let dashboard = dashboard();
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${datasource}");
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", panel["title"]);
        let place = |name: &str| panel["gridPos"][name].as_i64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} overlaps at {x}, {y}", panel["title"]);
            }
        }
    }
}
