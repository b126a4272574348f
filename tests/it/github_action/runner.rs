//! A runner of GitHub's, as far as an action sees it: variables, files, processes, and the endpoint for the job's OpenID Connect token.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use nix::unistd::{getgid, getuid};
use panda_dev_services::Engine;
use panda_testing::container::{Contained, Given};
use panda_testing::installed::program;
use panda_testing::oidc_issuer::{Issuer, Key};
use panda_testing::root;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// The secret with which a job requests its token.
const JOB_SECRET: &str = "job-secret";
/// Where runners mount their Node into the containers of jobs.
const NODE: &str = "/__e/node20/bin/node";

/// An issuer that gives the jobs of one repository a token for the audience that they request.
pub struct TokenService {
    issuer: Issuer,
    key: Key,
    repository: String,
}

impl TokenService {
    pub async fn of(repository: &str) -> Arc<Self> {
        let key = Key::ec("k");
        let issuer = Issuer::start(&[&key]).await;
        Arc::new(Self { issuer, key, repository: repository.to_owned() })
    }

    /// Panda's file of issuers: jobs of the main branch may deploy and switch their own repository.
    pub fn file(&self) -> Value {
        let rule = json!({"claims": {"repository_owner": "acme", "ref": "refs/heads/main"}, "role": "approver", "repositories": ["{repository}"]});
        json!([{"issuer": self.issuer.name(), "audiences": ["panda"], "rules": [rule]}])
    }

    pub fn token(&self, audience: &str) -> String {
        self.key.sign(&self.issuer.claims(&json!({"aud": audience, "repository": self.repository})))
    }

    /// Serves tokens as GitHub does; returns `ACTIONS_ID_TOKEN_REQUEST_URL`.
    async fn serve(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/idtoken", get(give_token)).with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/idtoken?api-version=2.0")
    }
}

async fn give_token(
    State(service): State<Arc<TokenService>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    let secret = headers.get("authorization").and_then(|value| value.to_str().ok());
    if secret != Some(format!("Bearer {JOB_SECRET}").as_str()) || !query.contains_key("api-version") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let audience = query.get("audience").ok_or(StatusCode::BAD_REQUEST)?;
    Ok(Json(json!({"value": service.token(audience)})))
}

/// A step of a job, which uses the action.
pub struct Runner {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Runner {
    /// A step with these inputs, in a job that may request a token.
    pub async fn with(service: &Arc<TokenService>, inputs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut variables = BTreeMap::from([
            ("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), service.serve().await),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), JOB_SECRET.to_owned()),
            ("INPUT_REPOSITORY".to_owned(), service.repository.clone()),
            ("INPUT_AUDIENCE".to_owned(), "panda".to_owned()),
            ("INPUT_BRANCH".to_owned(), "main".to_owned()),
        ]);
        variables
            .extend(inputs.iter().map(|(name, value)| (format!("INPUT_{}", name.to_uppercase()), (*value).to_owned())));
        for file in ["OUTPUT", "STATE", "STEP_SUMMARY"] {
            let path = folder.path().join(file);
            std::fs::write(&path, "").unwrap();
            variables.insert(format!("GITHUB_{file}"), path.display().to_string());
        }
        Self { folder, variables }
    }

    /// Starts the main step.
    pub fn start(&self) -> Child {
        self.step("main").spawn().unwrap()
    }

    pub async fn main(&self) -> Output {
        self.start().wait_with_output().await.unwrap()
    }

    /// Runs the post step, with the state that the main step left.
    pub async fn post(&self) -> Output {
        self.step("post").output().await.unwrap()
    }

    /// Starts a step as in a job with `container`: Node, the action and the files are mounted into an image that has none of them.
    pub async fn contained(&self, engine: &Engine, step: &str) -> Contained {
        let (action, node) = (root().join("action"), program(&["node"]).canonicalize().unwrap());
        let mut binds = vec![
            format!("{}:{NODE}:ro", node.display()),
            format!("{0}:{0}:ro", action.display()),
            format!("{0}:{0}", self.folder.path().display()),
        ];
        // Node's libraries, and the parts of it that Debian packages separately.
        for folder in ["/usr/lib", "/usr/share", "/lib", "/lib64"] {
            let path = std::fs::canonicalize(folder);
            binds.extend(path.map(|path| format!("{}:{folder}:ro", path.display())));
        }
        let args = vec![NODE.to_owned(), format!("{}/src/{step}.js", action.display())];
        let env = self.variables_with_state().map(|(name, value)| format!("{name}={value}")).collect();
        let user = Some(format!("{}:{}", getuid(), getgid()));
        let given = Given { args, env, binds, user, memory: 1 << 30, ..Given::default() };
        Contained::start(engine.docker(), "busybox:1", given).await
    }

    pub fn outputs(&self) -> BTreeMap<String, String> {
        self.entries("OUTPUT")
    }

    pub fn summary(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("STEP_SUMMARY")).unwrap()
    }

    /// The variables of a step, with the state that the steps before it left.
    fn variables_with_state(&self) -> impl Iterator<Item = (String, String)> {
        let state = self.entries("STATE").into_iter().map(|(name, value)| (format!("STATE_{name}"), value));
        self.variables.clone().into_iter().chain(state)
    }

    fn step(&self, name: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(root().join("action/src").join(format!("{name}.js"))).envs(self.variables_with_state());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// The entries `name<<end`, value, `end` of a file; a later one replaces an earlier one.
    fn entries(&self, file: &str) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).unwrap();
        let (mut lines, mut entries) = (text.lines(), BTreeMap::new());
        while let Some(first) = lines.next() {
            let (name, end) = first.split_once("<<").unwrap_or_else(|| panic!("{text}"));
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            entries.insert(name.to_owned(), value.join("\n"));
        }
        entries
    }
}
