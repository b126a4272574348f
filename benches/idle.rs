//! Measures the cost of an idle server: `make bench-idle`.
//!
//! Runs the release program on a durable Postgres, first without deployments, then with 10,000 that await approval of their switch. Counts statements
//! by Postgres's own count of transactions in the database; each idle statement of Panda is one transaction. `PANDA_BENCH_SECONDS` is the time of
//! observation of each (20).

use std::time::Duration;

use panda::db::commit::Change;
use panda::domain::Status;
use panda_benches::figures::{head, line, seconds};
use panda_benches::postgres::{Database, Server, statistics_arrived, transactions};
use panda_benches::process::Panda;
use panda_benches::rows;

const WAITING: usize = 10_000;

#[tokio::main]
async fn main() {
    let watched = seconds("PANDA_BENCH_SECONDS", 20);
    let server = Server::start().await;
    let database = server.database().await;
    let none = watch(&server, &database, watched).await;
    rows::place(&database.db, WAITING, |n| Change {
        step: Some(("await_switch".to_owned(), serde_json::json!({"code_deploy_deployment_id": format!("d-{n}")}))),
        status: Some(Status::DeploymentReady),
        waiting_for: Some("approval of the switch".into()),
        ..Change::default()
    })
    .await;
    database.settle().await;
    let waiting = watch(&server, &database, watched).await;

    head();
    for (name, rest, cpu) in [("no deployment", &none, "0.5 %"), ("10,000 waiting for their switch", &waiting, "10 %")]
    {
        line(&format!("{name}: Panda, of one core"), format!("{:.2} %", rest.cpu_percent), cpu);
        line(&format!("{name}: Postgres, of one core"), format!("{:.2} %", rest.postgres_percent), "");
        line(&format!("{name}: statements"), format!("{:.2}/s", rest.statements), "2/s");
        line(&format!("{name}: Panda's resident memory"), format!("{:.1} MiB", rest.resident_mib), "");
    }
    println!("{}", serde_json::json!({"none": none.json(), "waiting": waiting.json()}));
}

struct Rest {
    cpu_percent: f64,
    postgres_percent: f64,
    statements: f64,
    resident_mib: f64,
}

impl Rest {
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "cpu_percent": self.cpu_percent, "postgres_cpu_percent": self.postgres_percent,
            "statements_per_second": self.statements, "rss_mib": self.resident_mib,
        })
    }
}

async fn watch(server: &Server, database: &Database, watched: Duration) -> Rest {
    let panda = Panda::start(&database.url).await;
    let mut look = database.look().await;
    // Excludes the cost of starting and settling.
    statistics_arrived().await;
    let before = (panda.cpu_seconds(), server.cpu_seconds(), transactions(&mut look).await);
    tokio::time::sleep(watched).await;
    let after = (panda.cpu_seconds(), server.cpu_seconds(), transactions(&mut look).await);
    let seconds = watched.as_secs_f64();
    Rest {
        cpu_percent: (after.0 - before.0) / seconds * 100.0,
        postgres_percent: (after.1 - before.1) / seconds * 100.0,
        // May include one query of the bench itself.
        statements: (after.2 - before.2) as f64 / seconds,
        resident_mib: panda.resident_mib(),
    }
}
