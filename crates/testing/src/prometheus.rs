//! Debian's Prometheus as the current user, scraping one Panda.

use std::net::SocketAddr;
use std::time::Duration;

use panda_dev_services::DevServicesError;
use panda_dev_services::child_guard::{ChildGuard, Program, RunAs, StopSignal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::installed::{REMEDY, program};
use crate::process::on_free_port;
use crate::wait_for;

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A running Prometheus; dropping it ends it.
pub struct Prometheus {
    url: String,
    _leash: ChildGuard,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one with `rules` that scrapes `panda`, an address without a path, as the service `panda` in the namespace `panda`. Returns after the
    /// first scrape.
    pub async fn watching(panda: &str, rules: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let labels = json!({"namespace": "panda", "service": "panda", "pod": "panda-0"});
        let target = panda.trim_start_matches("http://");
        // JSON is valid YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [dir.path().join("rules.yaml")],
            "scrape_configs": [{"job_name": "panda", "static_configs": [{"targets": [target], "labels": labels}]}],
        });
        std::fs::write(dir.path().join("prometheus.yaml"), config.to_string()).unwrap();
        std::fs::write(dir.path().join("rules.yaml"), rules.to_string()).unwrap();
        let start = async |listen| start(&dir, listen).await.map(|leash| (listen, leash));
        let (listen, leash) = on_free_port("Prometheus", start).await;
        let new = Self { url: format!("http://{listen}"), _leash: leash, _dir: dir };
        new.sees_panda().await;
        new
    }

    /// Address of its HTTP API.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn sees_panda(&self) {
        wait_for("Panda was scraped", async || {
            let targets = self.ask("targets", &[]).await;
            targets["activeTargets"][0]["health"] == "up"
        })
        .await;
    }

    /// The `data` of an API answer; panics with the error otherwise.
    pub async fn ask(&self, what: &str, query: &[(&str, &str)]) -> Value {
        let request = reqwest::Client::new().get(format!("{}/api/v1/{what}", self.url)).query(query);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        answer["data"].take()
    }

    /// The present values of all series of an expression, as a single-number panel queries them.
    pub async fn now(&self, expression: &str) -> Vec<f64> {
        let data = self.ask("query", &[("query", expression)]).await;
        data["result"].as_array().unwrap().iter().map(|series| number(&series["value"])).collect()
    }

    /// The values of all series of an expression over ten minutes, as a line panel queries them.
    pub async fn lately(&self, expression: &str) -> Vec<f64> {
        let now = chrono::Utc::now().timestamp();
        let (start, end) = ((now - 600).to_string(), (now + 1).to_string());
        let query = [("query", expression), ("start", &start), ("end", &end), ("step", "1s")];
        let data = self.ask("query_range", &query).await;
        let series = data["result"].as_array().unwrap().iter();
        series.flat_map(|series| series["values"].as_array().unwrap()).map(number).collect()
    }
}

/// The number of `[time, "number"]`.
fn number(sample: &Value) -> f64 {
    sample[1].as_str().unwrap().parse().unwrap()
}

async fn start(dir: &TempDir, listen: SocketAddr) -> Result<ChildGuard, DevServicesError> {
    let at = dir.path().display();
    let args = [
        format!("--config.file={at}/prometheus.yaml"),
        format!("--storage.tsdb.path={at}/data"),
        format!("--web.listen-address={listen}"),
    ];
    let mut leash = Program {
        part: "Prometheus",
        executable: program(&["prometheus"]),
        args: args.into_iter().map(Into::into).collect(),
        env: Vec::new(),
        run_as: RunAs::Us,
        stop_signal: StopSignal::Term,
        grace: Duration::from_secs(5),
        log: dir.path().join("prometheus.log"),
        remedy: REMEDY,
    }
    .start()?;
    let ready = format!("http://{listen}/-/ready");
    leash
        .ready(READY_LIMIT, async || reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()))
        .await?;
    Ok(leash)
}
