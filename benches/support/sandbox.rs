//! The sandbox in a separate process, with thousands of running executions.
//!
//! A bench starts itself again as that process (see [`serve_if_asked`]), so that the sandbox's work counts neither as Panda's nor as the bench's. The
//! executions are real ones of the sandbox: each was started by a push notification as the registry sends it, through the rule, the bus and its
//! permission. They stay in `EnsureInfra`, whose work for one repository is one small service: no image is pushed and no container started, because
//! thousands of those would measure the Docker engine.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use panda::clients::aws::{Aws, AwsSettings};
use panda::db::commit::Change;
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys};
use panda::domain::deployment::Facts;
use panda::domain::history::{HistoryEvent, RawEvent};
use panda::domain::ids;
use panda::domain::names::{RULE_TARGET_ID, permission_statement, push_event_pattern};
use panda_sandbox::{
    Effects, Faults, Lag, RegistryAddress, Sandbox, SandboxCredentials, SandboxOptions, Timing, Visibility,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Polling interval with which the longest one, for executions without news, is 2 s, the default of `panda serve` after news.
const INTERVAL_MS: u64 = 308;
/// Longest wait between two polls: 6.5 intervals, and a tenth more by chance.
const LONGEST_WAIT_MS: u64 = 2_202;
const ROLE: &str = "--sandbox-process";
/// Option with the duration of `EnsureInfra`, in milliseconds.
const ENSURE_INFRA: &str = "--ensure-infra-ms=";
const BUS: &str = "panda";
/// Repository of all executions.
pub const REPOSITORY: &str = "bench";
/// Notifications of one POST: the sandbox takes bodies up to 4 MiB.
const BATCH: usize = 1_000;
/// Longer than any bench.
const FOR_EVER: Duration = Duration::from_hours(24);

/// Message of the process when it listens.
#[derive(Deserialize, Serialize)]
struct Address {
    endpoint: String,
    notifications: String,
    region: String,
    user_account: String,
    user: Keys,
    controller: Keys,
}

#[derive(Deserialize, Serialize)]
struct Keys {
    id: String,
    secret: String,
}

impl Keys {
    fn of(keys: &SandboxCredentials) -> Self {
        Self { id: keys.access_key_id.clone(), secret: keys.secret_access_key.expose_secret().to_owned() }
    }

    fn aws(&self) -> AwsKeys {
        AwsKeys {
            access_key_id: self.id.clone(),
            secret_access_key: SecretString::from(self.secret.as_str()),
            session_token: None,
        }
    }
}

/// Runs the sandbox, and never returns, if this process was started for that.
pub async fn serve_if_asked() {
    if !std::env::args().any(|argument| argument == ROLE) {
        return;
    }
    let given = std::env::args().find_map(|argument| argument.strip_prefix(ENSURE_INFRA)?.parse().ok());
    let ensure_infra = given.map_or(FOR_EVER, Duration::from_millis);
    // Never contacted in EnsureInfra; no engine needs to exist there.
    let docker = bollard::Docker::connect_with_http("http://127.0.0.1:9", 1, bollard::API_DEFAULT_VERSION).unwrap();
    let sandbox = Sandbox::start(SandboxOptions {
        keys: None,
        docker,
        // Only its address is used: the pushes are notifications of the bench.
        registry: Some(RegistryAddress {
            host_port: "127.0.0.1:9".into(),
            username: "AWS".into(),
            password: SecretString::from("unused"),
        }),
        initial_image: None,
        timing: Timing { ensure_infra, ..Timing::default() },
        listen: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
    })
    .await
    .unwrap();
    let address = Address {
        endpoint: sandbox.endpoint().to_string(),
        notifications: sandbox.notification_url().to_string(),
        region: sandbox.region().to_owned(),
        user_account: sandbox.user_account_id().to_owned(),
        user: Keys::of(sandbox.user_credentials()),
        controller: Keys::of(sandbox.controller_credentials()),
    };
    println!("{}", serde_json::to_string(&address).unwrap());
    std::io::stdout().flush().unwrap();
    // Ends with the bench under all circumstances: the kernel closes the pipe.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    std::process::exit(0);
}

/// The running process; dropping it ends it.
pub struct SandboxProcess {
    child: Child,
    address: Address,
    http: reqwest::Client,
}

impl SandboxProcess {
    /// Starts it with executions that stay in their first state.
    pub fn start() -> Self {
        Self::start_with(FOR_EVER)
    }

    /// Starts it with executions that enter their second state after `ensure_infra`.
    pub fn start_with(ensure_infra: Duration) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(ROLE)
            .arg(format!("{ENSURE_INFRA}{}", ensure_infra.as_millis()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: serde_json::from_str(&line).unwrap(), http: reqwest::Client::new() }
    }

    /// Returns the options and variables with which `panda serve` uses it, without quotas and with a poll about every 2 s at any time:
    /// these benches measure Panda, not AWS's limits.
    pub fn for_panda(&self) -> (Vec<String>, Vec<(&'static str, String)>) {
        let (mut options, variables) = self.with_quotas();
        options.extend(["--aws-quotas=*=unlimited".to_owned(), format!("--poll-interval-ms={INTERVAL_MS}")]);
        (options, variables)
    }

    /// Returns the options and variables with which `panda serve` uses it as it uses AWS.
    pub fn with_quotas(&self) -> (Vec<String>, Vec<(&'static str, String)>) {
        let options = vec![
            format!("--aws-endpoint={}", self.address.endpoint),
            format!("--event-bus={BUS}"),
            format!("--rule-target-role-arn={}", self.events_role()),
        ];
        let keys = &self.address.controller;
        (options, vec![("AWS_ACCESS_KEY_ID", keys.id.clone()), ("AWS_SECRET_ACCESS_KEY", keys.secret.clone())])
    }

    /// Starts `count` executions, each by a separate push, and returns their ARNs when all are running.
    pub async fn executions(&self, count: usize) -> Vec<String> {
        self.connect_the_chain().await;
        for from in (0..count).step_by(BATCH) {
            self.push(from..count.min(from + BATCH)).await;
        }
        self.started(count).await
    }

    /// Starts executions one after the other, evenly over this period.
    pub async fn executions_over(&self, count: usize, over: Duration) -> Vec<String> {
        self.connect_the_chain().await;
        let mut ticks = tokio::time::interval(over / u32::try_from(count).unwrap());
        for n in 0..count {
            ticks.tick().await;
            self.push(n..n + 1).await;
        }
        self.started(count).await
    }

    async fn push(&self, numbers: std::ops::Range<usize>) {
        let events: Vec<Value> = numbers.map(notification).collect();
        let sent = self.http.post(&self.address.notifications).body(json!({"events": events}).to_string());
        sent.send().await.unwrap().error_for_status().unwrap();
    }

    async fn started(&self, count: usize) -> Vec<String> {
        let started = Instant::now();
        loop {
            let arns = self.effects().await.repositories.remove(REPOSITORY).unwrap_or_default().execution_arns;
            if arns.len() == count {
                return arns;
            }
            assert!(started.elapsed() < Duration::from_mins(2), "{} of {count} executions started", arns.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns the effects that really happened.
    pub async fn effects(&self) -> Effects {
        serde_json::from_str(&self.get("effects").await).unwrap()
    }

    /// Returns a connection to the user's account in the sandbox.
    pub fn user_connection(&self) -> AwsConnection {
        AwsConnection {
            id: ids::aws_connection_id(),
            region: self.address.region.clone(),
            account_id: self.address.user_account.clone(),
            credentials: AwsCredentials::Keys(self.address.user.aws()),
            rule_target_role_arn: Some(self.events_role()),
        }
    }

    /// Returns the role that the sandbox's EventBridge may assume.
    fn events_role(&self) -> String {
        format!("arn:aws:iam::{}:role/panda-events", self.address.user_account)
    }

    /// Returns the whole history of an execution, as the program's client reads it.
    pub async fn history(&self, arn: &str) -> Vec<HistoryEvent> {
        self.aws()
            .await
            .controller()
            .executions
            .history_after(arn, 0)
            .await
            .unwrap()
            .iter()
            .map(RawEvent::event)
            .collect()
    }

    async fn aws(&self) -> Aws {
        Aws::new(AwsSettings {
            endpoint_url: Some(self.address.endpoint.parse().unwrap()),
            codedeploy_endpoint_url: None,
            controller_region: Some(self.address.region.clone()),
            controller_credentials: Some(self.address.controller.aws()),
            operation_timeout: Duration::from_secs(10),
            controller_roles: Vec::new(),
            quotas: panda::domain::api_quota::ApiQuotas::default(),
            calls: panda::metrics::AwsCalls::default(),
        })
        .await
    }

    /// Creates what Panda's own steps create in AWS: the ECR repository, the rule with its target, the permission.
    async fn connect_the_chain(&self) {
        let aws = self.aws().await;
        let user = aws.user("bench", &self.address.region, &AwsCredentials::Keys(self.address.user.aws()));
        user.ecr.create_repository(REPOSITORY, &[]).await.unwrap();
        let bus = &aws.controller().bus;
        let account = &self.address.user_account;
        bus.allow_account(BUS, &permission_statement(account), account).await.unwrap();
        let arn = bus.describe(BUS).await.unwrap().arn;
        user.rules.put_rule("bench", &push_event_pattern(REPOSITORY), "bench").await.unwrap();
        user.rules.put_target("bench", RULE_TARGET_ID, &arn, Some(&self.events_role())).await.unwrap();
    }

    /// Delays the events of all histories by this much from now on.
    pub async fn history_lag(&self, lag: Duration) {
        let visibility = Visibility { history: Lag::of(lag), ..Visibility::default() };
        self.faults(&Faults { visibility, ..Faults::default() }).await;
    }

    /// Injects these faults from now on.
    pub async fn faults(&self, faults: &Faults) {
        let body = serde_json::to_string(faults).unwrap();
        let sent = self.http.put(self.control("faults")).body(body).send().await.unwrap();
        sent.error_for_status().unwrap();
    }

    /// Creates CodeDeploy deployments that await their switch, and returns their ids.
    pub async fn waiting_deployments(&self, count: usize) -> Vec<String> {
        let body = json!({"repository": REPOSITORY, "count": count}).to_string();
        let sent = self.http.post(self.control("waiting-deployments")).body(body).send().await.unwrap();
        let mut created: BTreeMap<String, Vec<String>> =
            serde_json::from_str(&sent.error_for_status().unwrap().text().await.unwrap()).unwrap();
        created.remove("deploymentIds").unwrap()
    }

    /// Creates service deployments of ECS that await their switch, each of a separate service, and returns their ARNs.
    pub async fn waiting_service_deployments(&self, count: usize) -> Vec<String> {
        let body = json!({"repository": REPOSITORY, "count": count, "native": true}).to_string();
        let sent = self.http.post(self.control("waiting-deployments")).body(body).send().await.unwrap();
        let mut created: BTreeMap<String, Vec<String>> =
            serde_json::from_str(&sent.error_for_status().unwrap().text().await.unwrap()).unwrap();
        created.remove("deploymentIds").unwrap()
    }

    /// Stops the `n`th of them in AWS's console, without a rollback.
    pub async fn stop_in_console(&self, n: usize) {
        let body = json!({"repository": format!("{REPOSITORY}-{n}"), "act": "stop"}).to_string();
        let sent = self.http.put(self.control("console")).body(body).send().await.unwrap();
        sent.error_for_status().unwrap();
    }

    /// Resets the recorded gaps between two reads of one history.
    pub async fn forget_gaps(&self) {
        self.http.delete(self.control("history-gaps")).send().await.unwrap().error_for_status().unwrap();
    }

    /// Returns the gaps since the reset: their number, by milliseconds.
    pub async fn gaps(&self) -> BTreeMap<u64, u64> {
        serde_json::from_str(&self.get("history-gaps").await).unwrap()
    }

    async fn get(&self, what: &str) -> String {
        self.http.get(self.control(what)).send().await.unwrap().text().await.unwrap()
    }

    fn control(&self, what: &str) -> String {
        format!("{}/{what}", self.address.notifications.trim_end_matches("/registry-notifications"))
    }

    pub fn cpu_seconds(&self) -> f64 {
        super::process::cpu_of(self.child.id()).map_or(0.0, |cpu| cpu.own)
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A push as the registry reports it; each has a distinct digest.
fn notification(n: usize) -> Value {
    json!({
        "id": uuid::Uuid::new_v4(), "timestamp": chrono::Utc::now(), "action": "push",
        "target": {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 1_570,
            "digest": format!("sha256:{n:064x}"), "repository": REPOSITORY, "tag": format!("dep_{n:020}"),
        },
    })
}

/// Returns the change that makes a deployment follow `arn`.
pub fn following(arn: &str) -> Change {
    Change {
        step: Some(("follow_execution".to_owned(), json!({"execution_arn": arn, "task_failed": false}))),
        facts: Facts { execution_arn: Some(arn.to_owned()), ..Facts::default() },
        ..Change::default()
    }
}

/// Returns the lateness in milliseconds that the given `share` of the polls did not exceed, relative to the longest planned wait.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank below the count")]
pub fn lateness(gaps: &BTreeMap<u64, u64>, share: f64) -> u64 {
    let rank = (gaps.values().sum::<u64>() as f64 * share) as u64;
    let mut seen = 0;
    let gap = gaps.iter().find_map(|(millis, count)| {
        seen += count;
        (seen > rank).then_some(*millis)
    });
    gap.unwrap_or_default().saturating_sub(LONGEST_WAIT_MS)
}
