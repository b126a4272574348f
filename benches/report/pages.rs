//! Pages of the list, and results, through the program's API.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use panda_benches::figures::{line, median, percentile};
use panda_benches::postgres::Database;
use panda_benches::process::Panda;

/// Requests of each kind.
const TIMES: usize = 200;

/// Returns median and 99th percentile of each kind in milliseconds.
pub async fn measure(database: &Database) -> BTreeMap<&'static str, [f64; 2]> {
    let panda = Panda::start(&database.url).await;
    let http = reqwest::Client::new();
    let get = async |path: &str| -> Value {
        http.get(format!("{}{path}", panda.base))
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let mut figures = BTreeMap::new();
    let mut deep = "/api/v1/deploy?limit=100".to_owned();
    for _ in 0..20 {
        // A small history has fewer pages.
        let Some(cursor) = get(&deep).await["data"]["nextCursor"].as_str().map(str::to_owned) else { break };
        deep = format!("/api/v1/deploy?limit=100&cursor={cursor}");
    }
    let lists = [
        ("list, first page of 20", "/api/v1/deploy".to_owned()),
        ("list, page of 100, twenty pages down", deep),
        ("list, page of 20 of a repository", "/api/v1/deploy?owner=team-7&repo=service-7".to_owned()),
        ("list, page of 20 of those that failed", "/api/v1/deploy?status=FAILED".to_owned()),
        ("list, page of 20 of an owner that is not there", "/api/v1/deploy?owner=nobody".to_owned()),
    ];
    for (what, path) in lists {
        figures.insert(what, time(what, "20 ms", async |_| drop(get(&path).await)).await);
    }
    let page = get("/api/v1/deploy?limit=100").await;
    let ids: Vec<&str> = page["data"]["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["deploymentId"].as_str().unwrap())
        .collect();
    let what = "result";
    figures.insert(
        what,
        time(what, "5 ms", async |n| drop(get(&format!("/api/v1/deploy/{}/result", ids[n % ids.len()])).await)).await,
    );
    figures
}

async fn time(what: &str, bar: &str, mut ask: impl AsyncFnMut(usize)) -> [f64; 2] {
    let mut millis = Vec::new();
    for n in 0..TIMES {
        let begun = Instant::now();
        ask(n).await;
        millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    let (middle, slow) = (median(&millis), percentile(&millis, 0.99));
    line(&format!("{what}, median"), format!("{middle:.1} ms"), bar);
    line(&format!("{what}, 99th percentile"), format!("{slow:.1} ms"), "");
    [middle, slow]
}
