//! Measures the cost of authentication per request: `make bench-http`.
//!
//! Starts the release program twice on one durable Postgres, once without authentication and once with a token. wrk requests the `result` of one
//! deployment from both over loopback, alternating. `PANDA_BENCH_SECONDS` is the length of a round (4).

use std::process::Command;
use std::time::Duration;

use panda_benches::figures::{head, line, median, seconds};
use panda_benches::postgres::Server;
use panda_benches::process::{Panda, token};
use panda_benches::rows;

/// Rounds of each server.
const ROUNDS: usize = 7;

/// Connections of wrk. Few, because the bench measures the time of a request, not the capacity.
const CONNECTIONS: &str = "4";

#[tokio::main]
async fn main() {
    let round = seconds("PANDA_BENCH_SECONDS", 4);
    let server = Server::start().await;
    let database = server.database().await;
    rows::create(&database.db, 1).await;
    let me = rows::replica(&database.db).await;
    let id = rows::claim(&database.db, me, 1).await.remove(0).id;
    let token = token(&database.url, "bench", "viewer", &[]).await;
    let serve = async |auth: &str| {
        let options = [format!("--auth={auth}"), "--rate-per-token=0".to_owned()];
        Panda::start_with(&database.url, &options, &[]).await
    };
    let (open, asking) = (serve("none").await, serve("required").await);
    let path = format!("/api/v1/deploy/{id}/result");
    let refused = reqwest::get(format!("{}{path}", asking.base)).await.unwrap();
    assert_eq!(refused.status(), 401, "what is measured really asks");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(wrk(&format!("{}{path}", open.base), None, round));
        with.push(wrk(&format!("{}{path}", asking.base), Some(&token), round));
    }
    let (without, with) = (median(&without), median(&with));
    head();
    line("result, median latency, without authentication", format!("{without:.0} µs"), "");
    line("result, median latency, with a token", format!("{with:.0} µs"), "");
    line("  ratio", format!("{:.3}", with / without), "1.05");
    println!("{}", serde_json::json!({"result_us": without, "result_with_token_us": with, "ratio": with / without}));
}

/// Returns the median latency in microseconds.
fn wrk(url: &str, token: Option<&str>, round: Duration) -> f64 {
    let mut command = Command::new("wrk");
    command.args(["--latency", "-t1", "-c", CONNECTIONS, "-d", &format!("{}s", round.as_secs())]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    let printed = command.arg(url).output().expect("wrk: apt-get install wrk").stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert!(!printed.contains("Non-2xx"), "{printed}");
    let median = printed.lines().find_map(|line| line.trim().strip_prefix("50%")).expect("a median").trim();
    let digits = median.trim_end_matches(char::is_alphabetic);
    let unit = match &median[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        unit => panic!("{unit}"),
    };
    digits.parse::<f64>().unwrap() * unit
}
