//! Runs `action` as a runner does, signed in with the job's OpenID Connect token, against a real Panda on the sandbox.

mod runner;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{ExecutionFault, Faults, Outcome};
use panda_testing::api_client::ApiClient;
use panda_testing::serve::ServeBuilder;
use panda_testing::{helm, root, text};
use pretty_assertions::assert_eq;
use regex::Regex;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::environment::{Environment, OWNER, hello};
use crate::support::panda::Panda;
use crate::support::process::{Serve, free_address};
use crate::support::wait_for;
use runner::{Runner, TokenService};

/// A repository whose jobs may deploy it, and its Panda.
struct Workflow {
    env: Environment,
    service: Arc<TokenService>,
    serve: ServeBuilder,
    panda: Serve,
    _folder: TempDir,
}

impl Workflow {
    async fn of(files: Vec<SourceFile>) -> Self {
        let env = Environment::with_files(files).await;
        let service = TokenService::of(&format!("{OWNER}/{}", env.repo)).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuers.json");
        std::fs::write(&path, service.file().to_string()).unwrap();
        let flag = format!("--oidc-file={}", path.display());
        let serve = Panda::builder().environment(&env).flags(&[&flag]).process().listen(free_address());
        let panda = started(&serve).await;
        let workflow = Self { env, service, serve, panda, _folder: folder };
        // With the scope of the jobs: accounts that other scopes have connected are not theirs.
        workflow.api().connect(&workflow.env).await;
        workflow
    }

    /// A client with a token of a job.
    fn api(&self) -> ApiClient {
        let token = format!("Bearer {}", self.service.token("panda"));
        let headers: HeaderMap = HeaderMap::from_iter([(AUTHORIZATION, token.parse().unwrap())]);
        let http = reqwest::Client::builder().default_headers(headers).build().unwrap();
        ApiClient { base: self.panda.url.clone(), http }
    }

    async fn runner(&self, inputs: &[(&str, &str)]) -> Runner {
        Runner::with(&self.service, &[&[("server", self.panda.url.as_str())][..], inputs].concat()).await
    }

    /// Lets no execution of the pipeline end.
    fn stick(&self) {
        let stuck = ExecutionFault { state: "EnsureInfra".into(), outcome: Outcome::Stuck };
        self.env.sandbox.faults().set(Faults { executions: [("*".to_owned(), stuck)].into(), ..Faults::default() });
    }

    /// Waits until a deployment follows its execution, and returns its id.
    async fn follows_execution(&self, runner: &Runner) -> String {
        wait_for("the deployment follows its execution", async || {
            let id = runner.outputs().remove("deployment-id")?;
            let deployment = self.env.db.db.deployment(&id).await.unwrap()?;
            deployment.facts.execution_arn.is_some().then_some(id)
        })
        .await
    }

    async fn result(&self, id: &str) -> Value {
        self.api().get(&format!("/deploy/{id}/result")).await.1["data"].take()
    }
}

/// Starts it at its address, also when another process has taken the port for a moment.
async fn started(serve: &ServeBuilder) -> Serve {
    loop {
        if let Some(panda) = serve.ready_or_ended().await {
            return panda;
        }
    }
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn github_action__passes_its_own_tests() {
    let mut npm = Command::new("npm");
    npm.args(["test", "--silent"]).current_dir(root().join("action")).stdin(Stdio::null()).kill_on_drop(true);
    let output = npm.output().await.unwrap();
    let said = shown(&output);
    assert!(output.status.success(), "{said}");
    let passed = said.lines().find_map(|line| line.strip_prefix("ℹ pass ")).unwrap_or_else(|| panic!("{said}"));
    assert!(passed.parse::<u32>().unwrap() > 0, "no test was run: {said}");
}

#[test]
fn github_action__declares_the_inputs_and_outputs_of_its_code() {
    let names_of = |file: &str, pattern: &str| -> BTreeSet<String> {
        let code = text(&format!("action/src/{file}"));
        Regex::new(pattern).unwrap().captures_iter(&code).map(|found| found[1].to_owned()).collect()
    };
    let action = helm::documents(&[text("action/action.yml")]).remove(0).remove(0);
    let declared = |part: &str| -> BTreeSet<String> { action[part].as_object().unwrap().keys().cloned().collect() };
    let read = names_of("inputs.js", r#"(?:input|flag|choice|id|json|seconds|address)\("([a-z-]+)""#);
    let sources = ["branch", "tag", "commit", "image"].map(str::to_owned);
    assert_eq!(read.union(&sources.into()).cloned().collect::<BTreeSet<_>>(), declared("inputs"));
    let written = names_of("verdict.js", r#"(?m)^    "?([a-z-]+)"?: (?:result|panda)\."#);
    assert_eq!(written, declared("outputs"));
    for step in ["main", "post"] {
        assert!(root().join("action").join(action["runs"][step].as_str().unwrap()).is_file(), "{step}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_action__signs_in_deploys_and_switches() {
    let workflow = Workflow::of(hello("2.0.0")).await;
    let runner = workflow.runner(&[("switch", "true")]).await;
    let output = runner.main().await;
    let said = shown(&output);
    assert!(output.status.success(), "{said}");
    let outputs = runner.outputs();
    let result = workflow.result(&outputs["deployment-id"]).await;
    assert_eq!((&result["status"], &result["finalService"]), (&json!("COMPLETED"), &json!("green")));
    assert_eq!((outputs["status"].as_str(), outputs["traffic"].as_str()), ("COMPLETED", "green"));
    for (output, member) in [("image-digest", "imageDigest"), ("green-url", "greenUrl"), ("commit", "commitSha")] {
        assert_eq!(result[member], outputs[output].as_str(), "{output}");
    }
    assert!(
        runner.summary().contains("The new version has the traffic.")
            && runner.summary().contains(&outputs["image-digest"])
    );
    let token = said.lines().find_map(|line| line.strip_prefix("::add-mask::")).unwrap();
    assert!(token.split('.').count() == 3 && said.matches(token).count() == 1, "{said}");
    // Nothing is left for the post step.
    assert_eq!(shown(&runner.post().await), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_action__fails_with_the_build() {
    let broken = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN echo broken; exit 9\n");
    let workflow = Workflow::of(vec![broken]).await;
    let runner = workflow.runner(&[]).await;
    let output = runner.main().await;
    let said = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("::error title=Panda::BUILD_FAILED: ") && said.contains("No traffic was moved."), "{said}");
    let outputs = runner.outputs();
    assert_eq!(
        (outputs["status"].as_str(), outputs["error-code"].as_str(), outputs["traffic"].as_str()),
        ("FAILED", "BUILD_FAILED", "")
    );
    assert!(runner.summary().starts_with("### ❌"), "{}", runner.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_action__cancelled_job_cancels_the_deployment() {
    let workflow = Workflow::of(hello("2.0.0")).await;
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        workflow.stick();
        let runner = workflow.runner(&[]).await;
        let step = runner.start();
        let id = workflow.follows_execution(&runner).await;
        kill(Pid::from_raw(i32::try_from(step.id().unwrap()).unwrap()), signal).unwrap();
        let output = step.wait_with_output().await.unwrap();
        assert!(!output.status.success(), "{}", shown(&output));
        let post = runner.post().await;
        assert!(post.status.success(), "{}", shown(&post));
        let result = workflow.result(&id).await;
        assert_eq!((&result["status"], &result["errorCode"]), (&json!("FAILED"), &json!("CANCELLED")), "{signal}");
        assert!(runner.summary().contains("No traffic was moved."), "{}", runner.summary());
        assert_eq!(runner.outputs()["error-code"], "CANCELLED");
    }
}

/// A job with `container`, which GitHub stops with SIGTERM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_action__works_in_the_container_of_a_job() {
    let workflow = Workflow::of(hello("2.0.0")).await;
    let engine = &workflow.env.engine;
    workflow.stick();
    let cancelled = workflow.runner(&[]).await;
    let step = cancelled.contained(engine, "main").await;
    let id = workflow.follows_execution(&cancelled).await;
    assert_eq!(step.stop().await.0, Some(1), "{}", step.log().await);
    step.remove().await;
    let post = cancelled.contained(engine, "post").await;
    assert_eq!(post.end().await, 0, "{}", post.log().await);
    post.remove().await;
    assert_eq!(workflow.result(&id).await["errorCode"], "CANCELLED");
    assert!(cancelled.summary().contains("No traffic was moved."), "{}", cancelled.summary());

    workflow.env.sandbox.faults().clear();
    let ready = workflow.runner(&[]).await;
    let step = ready.contained(engine, "main").await;
    assert_eq!(step.end().await, 0, "{}", step.log().await);
    step.remove().await;
    assert_eq!(ready.outputs()["status"], "DEPLOYMENT_READY");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_action__follows_through_a_restart_of_the_server() {
    let mut workflow = Workflow::of(hello("2.0.0")).await;
    workflow.stick();
    let runner = workflow.runner(&[]).await;
    let step = runner.start();
    let id = workflow.follows_execution(&runner).await;
    workflow.panda.kill().await;
    workflow.env.sandbox.faults().clear();
    workflow.panda = started(&workflow.serve).await;
    let output = step.wait_with_output().await.unwrap();
    let said = shown(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(workflow.result(&id).await["status"], "DEPLOYMENT_READY");

    let api = workflow.api();
    let log = api.http.get(api.url(&format!("/deploy/{id}/log?format=ndjson&lang=en"))).send().await.unwrap();
    let log = log.text().await.unwrap();
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sent: Vec<String> = events.map(|event| event["message"].as_str().unwrap().to_owned()).collect();
    let printed: Vec<&str> = said.lines().filter(|line| !line.starts_with("::")).collect();
    assert_eq!(printed[1..printed.len() - 1].join("\n"), sent.join("\n"), "each event once, in order");
}
