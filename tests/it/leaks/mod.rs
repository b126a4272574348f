//! Plants a secret at every entry point, and searches for it in all that Panda writes, answers and builds.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use panda::domain::keyring::Keyring;
use panda_sandbox::git::SourceFile;
use panda_sandbox::{CallFault, ExecutionFault, Faults, InjectedError, Outcome};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::http::fixture::github_connection_with;
use crate::support::db::KEY_FILE;
use crate::support::environment::{Environment, OWNER, tiny};
use crate::support::process::Serve;
use crate::support::wait_for;
use panda_testing::canaries::{Canaries, files_below};
use panda_testing::engines::export_labelled;
use panda_testing::trace_collector::Collector;

/// A Panda whose answers are all recorded.
struct Panda {
    serve: Serve,
    http: reqwest::Client,
    answers: Vec<String>,
}

impl Panda {
    async fn start(env: &Environment, flags: &[&str], filter: &str, collector: &str) -> Self {
        let serve = Serve::start(env, flags, &[("RUST_LOG", filter), ("PANDA_OTLP_ENDPOINT", collector)]);
        serve.ready().await;
        Self { serve, http: reqwest::Client::new(), answers: Vec::new() }
    }

    /// Sets the log filter to everything.
    async fn log_everything(&self) {
        let command = self.http.put(format!("{}/api/v1/log", self.serve.url)).json(&json!({"filter": "trace"}));
        assert_eq!(command.send().await.unwrap().status(), 200);
        wait_for("everything is logged", async || self.serve.log().contains(" DEBUG ")).await;
    }

    async fn post(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.post(format!("{}/api/v1{path}", self.serve.url)).json(body).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        self.answers.push(text.clone());
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn get(&mut self, path: &str) -> String {
        let text = self.http.get(format!("{}{path}", self.serve.url)).send().await.unwrap().text().await.unwrap();
        self.answers.push(text.clone());
        text
    }

    /// Connects and returns the connection's id.
    async fn connect(&mut self, to: &str, body: &Value) -> String {
        let (status, answer) = self.post(&format!("/connect/{to}"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"][format!("{to}ConnectionId")].as_str().unwrap().to_owned()
    }

    /// Deploys, waits for `status` and returns the id.
    async fn deploy(&mut self, env: &Environment, github: &str, aws: &str, branch: &str, status: &str) -> String {
        let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": OWNER, "repo": env.repo, "branch": branch});
        let (code, answer) = self.post("/deploy", &body).await;
        assert_eq!(code, 200, "{answer}");
        let id = answer["data"]["deploymentId"].as_str().unwrap().to_owned();
        self.reach(&id, status).await;
        id
    }

    async fn reach(&mut self, id: &str, status: &str) {
        let url = format!("{}/api/v1/deploy/{id}/result", self.serve.url);
        let result = wait_for(&format!("{id} is {status}"), async || {
            let result: Value = self.http.get(&url).send().await.unwrap().json().await.unwrap();
            let at = result["data"]["status"].as_str().unwrap();
            assert!(at == status || at != "FAILED", "{result}");
            (at == status).then(|| result.to_string())
        })
        .await;
        self.answers.push(result);
    }
}

struct Planted {
    canaries: Canaries,
    token: String,
    key: String,
    session: String,
    external_id: String,
    password: String,
    /// Consists of two lines.
    build_secret: [String; 2],
}

impl Planted {
    fn new(env: &Environment) -> Self {
        let mut canaries = Canaries::default();
        let key = env.sandbox.user_credentials().secret_access_key.expose_secret().to_owned();
        canaries.watch("the AWS secret key", &key);
        let controller = env.sandbox.controller_credentials().secret_access_key.expose_secret();
        canaries.watch("the controller's AWS secret key", controller);
        canaries.watch("the registry's password", env.registry.password().expose_secret());
        Self {
            token: canaries.plant("the GitHub token", "ghp_"),
            session: canaries.plant("the AWS session token", "IQoJb3/+=JpZ2"),
            external_id: canaries.plant("an external id that the caller chose", "external-"),
            password: canaries.plant("a password in a URL", "pw"),
            build_secret: [
                canaries.plant("the first line of a build secret", "npm_"),
                canaries.plant("the second line of a build secret", "npm_"),
            ],
            key,
            canaries,
        }
    }

    /// An indiscreet text about a deployment with keys.
    fn of_keys(&self) -> String {
        let Self { token, key, session, .. } = self;
        format!("refused {token}, {key}; {session} {}", self.url())
    }

    /// An indiscreet text about a deployment with a role.
    fn of_role(&self) -> String {
        format!("refused {} {}", self.token, self.url())
    }

    /// An indiscreet text of STS, which has not seen the token.
    fn of_aws(&self) -> String {
        format!("refused {} {} {}", self.key, self.session, self.url())
    }

    fn url(&self) -> String {
        format!("at https://bot:{}@registry.example/v2/", self.password)
    }
}

/// A repository whose build prints all that it can see, and a branch `prints` that contains the secrets and prints them.
async fn repository(env: &mut Environment, planted: &Planted) {
    let curious = "FROM busybox:1\nCOPY . /www/\nRUN env; cat /proc/self/environ; ls -laR /www; cat /www/.git/config || true\n\
                   CMD exec httpd -f -p \"$PORT\" -h /www\n";
    let mut files = tiny();
    files[0] = SourceFile::new("Dockerfile", curious);
    files.push(SourceFile::new("unique", env.repo.clone()));
    env.repo = format!("leaks-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let repositories = env.github.repositories();
    let token = Some(SecretString::from(planted.token.as_str()));
    repositories.add_repository(OWNER, &env.repo, token, "main", files).await.unwrap();
    let basic = STANDARD.encode(format!("x-access-token:{}", planted.token));
    let script = format!(
        "echo '{}'\necho Basic {basic}\nprintf '10%%\\r{}\\n'\necho 'npm {}'\n",
        planted.of_keys(),
        planted.token,
        planted.build_secret[1]
    );
    let long = format!("echo {}{}\n", "x".repeat(4_080), planted.key);
    let files = vec![
        // The engine repeats the command when it fails; the kept part ends in the middle of the token.
        SourceFile::new(
            "Dockerfile",
            format!("FROM busybox:1\nCOPY run.sh /\nRUN : {}{}; sh /run.sh; exit 1\n", "z".repeat(945), planted.token),
        ),
        SourceFile::new("run.sh", script + &long),
    ];
    repositories.commit(OWNER, &env.repo, "prints", files).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaks__no_secret_in_any_output() {
    let mut env = Environment::start().await;
    let mut planted = Planted::new(&env);
    planted.canaries.assert_search_works();
    repository(&mut env, &planted).await;
    let mut url: Url = env.db.url().parse().unwrap();
    if url.password().is_none() {
        let password = planted.canaries.plant("the database's password", "db");
        url.set_password(Some(&password)).unwrap();
    }
    let database = format!("--database-url={url}");
    let (_keys, key_file) = key_file(&mut planted.canaries);
    let (collector, endpoint) = Collector::start().await;
    // Everything is logged: in this server by request, in the one below from the start.
    let mut panda = Panda::start(&env, &[&database, &key_file], "info", &endpoint).await;
    panda.log_everything().await;

    let source = |branch: &str| json!({"owner": OWNER, "repo": env.repo, "branch": branch, "token": planted.token});
    let account = json!({
        "region": env.sandbox.region(), "accessKeyId": env.sandbox.user_credentials().access_key_id,
        "secretAccessKey": planted.key, "sessionToken": planted.session,
    });
    let role = json!({
        "region": env.sandbox.region(),
        "roleArn": format!("arn:aws:iam::{}:role/deployer", env.sandbox.user_account_id()),
    });
    let github = panda.connect("github", &source("main")).await;
    let prints = panda.connect("github", &source("prints")).await;
    for connection in [&github, &prints] {
        let path = format!("{}/api/v1/connect/github/{connection}/secrets/npm", panda.serve.url);
        let set = panda.http.put(path).json(&json!({"value": planted.build_secret.join("\n")})).send().await.unwrap();
        assert_eq!(set.status(), 200);
        panda.answers.push(set.text().await.unwrap());
        panda.get(&format!("/api/v1/connect/github/{connection}/secrets")).await;
    }
    let by_keys = panda.connect("aws", &account).await;
    let (status, received) = panda.post("/connect/aws", &role).await;
    assert_eq!(status, 409, "{received}");
    let external_id = received["externalId"].as_str().unwrap();
    env.sandbox.put_role_for(role["roleArn"].as_str().unwrap(), external_id);
    let by_role = panda.connect("aws", &role).await;
    wrong_requests(&mut panda, &env, &planted, &account).await;

    // A deployment that succeeds up to its switch.
    let ready = panda.deploy(&env, &github, &by_keys, "main", "DEPLOYMENT_READY").await;
    planted.canaries.assert_absent(
        "the image, its layers and its history",
        &export_labelled(&env.engine, &format!("dev.panda.deployment={ready}")).await,
    );
    panda.post(&format!("/deploy/{ready}/switch"), &json!({})).await;
    panda.reach(&ready, "COMPLETED").await;

    let mut all = vec![ready];
    all.extend(failed_deployments(&mut panda, &env, &mut planted, [&github, &prints], [&by_keys, &by_role]).await);

    // Each stream ends five seconds after its last event.
    let streams = all.iter().map(|id| panda.http.get(format!("{}/api/v1/deploy/{id}/events", panda.serve.url)).send());
    for stream in join_all(streams).await {
        let text = stream.unwrap().text().await.unwrap();
        assert!(text.contains("event: fail") || text.contains("event: success"), "{text}");
        panda.answers.push(text);
    }
    for path in ["/metrics", "/readyz", "/api/v1/connections", "/api/v1/deploy", "/api-docs/openapi.json"] {
        panda.get(path).await;
    }
    let received = panda.answers.join("\n");
    assert!(received.contains("***"), "masked secrets are shown as masked");
    planted.canaries.assert_absent("the API's responses", received.as_bytes());
    planted.canaries.assert_absent("the log", panda.serve.log().as_bytes());
    panda.serve.signal(Signal::SIGTERM);
    assert!(panda.serve.wait().await.success());
    let traces = collector.spans().into_iter().map(|span| span.whole).collect::<Vec<_>>().join("\n");
    assert!(traces.contains("buildkit solve") && traces.contains("events:PutRule"));
    planted.canaries.assert_absent("the traces", traces.as_bytes());

    let options: [&str; 3] = [&database, &key_file, "--docker-host=unix:///nowhere/docker.sock"];
    let mut waiting = Panda::start(&env, &options, "trace", &endpoint).await;
    let id = waiting.deploy(&env, &github, &by_keys, "main", "RUNNING").await;
    workspace_has_no_secret(&env, &id, &planted.canaries).await;
    planted.canaries.assert_absent("the log of the second server", waiting.serve.log().as_bytes());
    waiting.serve.kill().await;
    let dump = env.db.dump().await;
    assert!(dump.contains("dep_") && dump.contains("gh_"), "the dump contains the deployments");
    planted.canaries.assert_absent("the database", dump.as_bytes());
}

/// Deployments that fail: the build prints secrets, AWS and the execution repeat them, git refuses one.
async fn failed_deployments(
    panda: &mut Panda,
    env: &Environment,
    planted: &mut Planted,
    [github, prints]: [&str; 2],
    [by_keys, by_role]: [&str; 2],
) -> Vec<String> {
    let mut all = vec![panda.deploy(env, prints, by_keys, "prints", "FAILED").await];
    env.sandbox.faults().set(refusing(&RULE_CALLS, planted.of_role()));
    all.push(panda.deploy(env, github, by_role, "main", "FAILED").await);
    env.sandbox.faults().set(refusing(&RULE_CALLS, planted.of_keys()));
    all.push(panda.deploy(env, github, by_keys, "main", "FAILED").await);
    let outcome = Outcome::Fail { error: "States.TaskFailed".to_owned(), cause: planted.of_role() };
    let fault = ExecutionFault { state: "EnsureInfra".to_owned(), outcome };
    env.sandbox.faults().set(Faults { executions: [("*".to_owned(), fault)].into(), ..Faults::default() });
    all.push(panda.deploy(env, github, by_role, "main", "FAILED").await);
    env.sandbox.faults().set(Faults::default());
    let revoked = revoked(env, &mut planted.canaries).await;
    all.push(panda.deploy(env, &revoked, by_keys, "main", "FAILED").await);
    all
}

/// While a build waits for its engine, its source is on the disk.
async fn workspace_has_no_secret(env: &Environment, id: &str, canaries: &Canaries) {
    let workspace = env.workspaces().join(id);
    wait_for("the source is there", async || workspace.join("Dockerfile").exists()).await;
    canaries.assert_absent("the workspace", &files_below(&workspace));
}

/// Sends secrets in the wrong fields of requests, and one that AWS refuses with an indiscreet text.
async fn wrong_requests(panda: &mut Panda, env: &Environment, planted: &Planted, account: &Value) {
    let token = &planted.token;
    for body in [
        json!({"owner": token, "repo": "shop", "branch": "main", "token": "x y"}),
        json!({"owner": OWNER, "repo": format!("{token}/"), "branch": "main", "token": token}),
        json!({"owner": OWNER, "repo": "shop", "branch": format!("{token}..x"), "token": token}),
        json!({"owner": OWNER, "repo": "shop", "branch": "main", "token": {"secret": token}}),
        json!({"owner": OWNER, "repo": "shop", "branch": "main", "token": format!("{token} {token}")}),
        json!({"owner": OWNER, "repo": "no-such-repository", "branch": "main", "token": token}),
        json!(token),
    ] {
        assert!((400..500).contains(&panda.post("/connect/github", &body).await.0), "{body}");
    }
    for (field, value) in
        [("sessionToken", format!("{} {}", planted.session, planted.key)), ("region", planted.key.clone())]
    {
        let mut body = account.clone();
        body[field] = value.into();
        assert_eq!(panda.post("/connect/aws", &body).await.0, 400, "{field}");
    }
    let role = format!("arn:aws:iam::{}:role/deployer", env.sandbox.user_account_id());
    let body = json!({"region": env.sandbox.region(), "roleArn": role, "externalId": planted.external_id});
    assert_eq!(panda.post("/connect/aws", &body).await.0, 400);
    env.sandbox.faults().set(refusing(&["sts:GetCallerIdentity"], planted.of_aws()));
    assert_eq!(panda.post("/connect/aws", account).await.0, 400);
    env.sandbox.faults().set(Faults::default());
}

/// Puts a new encryption key before the tests' own key; returns the file, and the option that names it.
fn key_file(canaries: &mut Canaries) -> (tempfile::NamedTempFile, String) {
    let line = Keyring::generate().unwrap();
    canaries.watch("the key that encrypts secrets", line.expose_secret().trim().rsplit_once(':').unwrap().1);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{}\n{}", line.expose_secret().trim(), std::fs::read_to_string(KEY_FILE).unwrap()).unwrap();
    let option = format!("--key-file={}", file.path().display());
    (file, option)
}

/// Reading and writing the rule: it is written only where it differs.
const RULE_CALLS: [&str; 2] = ["events:DescribeRule", "events:PutRule"];

fn refusing(calls: &[&str], message: String) -> Faults {
    let refuse = Some(InjectedError { code: "ValidationException".to_owned(), message, times: None });
    let fault = CallFault { refuse, ..CallFault::default() };
    Faults { calls: calls.iter().map(|&call| (call.to_owned(), fault.clone())).collect(), ..Faults::default() }
}

/// A connection whose token was revoked afterwards.
async fn revoked(env: &Environment, canaries: &mut Canaries) -> String {
    let token = SecretString::from(canaries.plant("a revoked token", "ghp_"));
    github_connection_with(&env.db.db, OWNER, &env.repo, token).await
}
