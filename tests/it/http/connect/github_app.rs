//! Connections by an installation of a GitHub App.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use panda_sandbox::github::app::InstalledApp;
use panda_sandbox::github::{GitHub, GitHubFaults};
use pretty_assertions::assert_eq;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::http::{Api, ExternalServices, external_services};
use crate::support::db::TestDb;
use crate::support::environment::{Environment, OWNER, tiny};
use crate::support::panda::Panda;

const PATH: &str = "/api/v1/connect/github";
const CONNECTED: &str = "GitHub 연결에 성공했습니다.";

/// A key as GitHub generates it (PKCS#1 in PEM), and its public part.
fn key() -> (String, Vec<u8>) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    // The header of a key of 2048 bits in PKCS#8 has 26 bytes; the rest is PKCS#1.
    let lines = STANDARD.encode(&pkcs8.as_ref()[26..]);
    let lines: Vec<&str> = lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n"));
    (pem, pair.public_key().as_ref().to_vec())
}

fn installed(owner: &str, public_key: Vec<u8>) -> InstalledApp {
    InstalledApp {
        id: "12".to_owned(),
        public_key,
        installation: 34,
        owner: owner.to_owned(),
        suspended: false,
        created: 0,
    }
}

fn body(repo: &str, app: &Value) -> Value {
    json!({"owner": "acme", "repo": repo, "branch": "main", "app": app})
}

#[tokio::test]
async fn github_app__connects_with_one_token_for_all_and_renews_it() {
    let db = TestDb::new().await;
    let (github, _root) = external_services::github().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let (private, public) = key();
    github.install(installed("acme", public.clone()));
    let app = json!({"appId": "12", "installationId": 34, "privateKey": private});
    let answers = join_all((0..4).map(|_| async { api.post(PATH, &body("shop", &app)).await })).await;
    let id = answers[0].data(CONNECTED)["githubConnectionId"].clone();
    assert!(answers.iter().all(|answer| answer.data(CONNECTED)["githubConnectionId"] == id));
    assert_eq!(github.installation_tokens(), 1, "one request for all");
    // GitHub refuses the token that is kept: another is requested.
    github.repositories().end_installation_tokens();
    let renewed = api.put(&format!("{PATH}/{}", id.as_str().unwrap()), &json!({"app": app})).await;
    assert_eq!((renewed.status, github.installation_tokens()), (200, 2));
    let stored = db.db.github_connection(id.as_str().unwrap()).await.unwrap().unwrap();
    let stored = panda::domain::github_app::GithubApp::of_secret(&stored.token).unwrap();
    assert_eq!((stored.app_id.as_str(), stored.installation_id), ("12", 34));
    // Back to a personal token.
    let token = json!({"token": external_services::TOKEN});
    assert_eq!(api.put(&format!("{PATH}/{}", id.as_str().unwrap()), &token).await.status, 200);
}

#[tokio::test]
async fn github_app__each_refusal_names_its_field_and_remedy() {
    let db = TestDb::new().await;
    let (github, _root) = external_services::github().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let ((private, public), (other, _)) = (key(), key());
    let connect = async |github: &GitHub, app: InstalledApp, given: Value, repo: &str| {
        github.install(app);
        api.post(PATH, &body(repo, &given)).await
    };
    let right = installed("acme", public);
    let given = |id: u64, key: &str| json!({"appId": "12", "installationId": id, "privateKey": key});
    let none = connect(&github, right.clone(), given(35, &private), "shop").await;
    assert_eq!(none.problem(400, "GITHUB_INSTALLATION_NOT_FOUND")["field"], "app.installationId");
    let wrong = connect(&github, right.clone(), given(34, &other), "shop").await.problem(400, "GITHUB_APP_REFUSED");
    assert_eq!(wrong["field"], "app.privateKey");
    assert!(wrong["detail"].as_str().unwrap().contains("could not be decoded"), "{wrong}");
    let suspended = InstalledApp { suspended: true, ..right.clone() };
    let answer = connect(&github, suspended, given(34, &private), "shop").await;
    assert_eq!(answer.problem(400, "GITHUB_INSTALLATION_SUSPENDED")["field"], "app.installationId");
    let broken = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----";
    connect(&github, right.clone(), given(34, broken), "shop").await.problem(400, "GITHUB_APP_KEY_UNUSABLE");
    for (field, value) in [("privateKey", json!("x")), ("appId", json!("")), ("installationId", json!("x"))] {
        let mut app = given(34, &private);
        app[field] = value;
        let problem = connect(&github, right.clone(), app, "shop").await.problem(400, "INVALID_FIELD");
        assert_eq!(problem["field"], format!("app.{field}"));
        assert!(!problem.to_string().contains("BEGIN"));
    }
    connect(&github, right, given(34, &private), "none").await.problem(400, "GITHUB_REPOSITORY_NOT_FOUND");
    let both = json!({"owner": "acme", "repo": "shop", "branch": "main", "token": "x", "app": given(34, &private)});
    assert_eq!(api.post(PATH, &both).await.refused_field("INVALID_FIELD"), "app");
    let neither = json!({"owner": "acme", "repo": "shop", "branch": "main"});
    assert_eq!(api.post(PATH, &neither).await.refused_field("INVALID_FIELD"), "token");
}

#[tokio::test]
async fn github_app__clock_that_differs_is_named_with_its_seconds() {
    let db = TestDb::new().await;
    let (github, _root) = external_services::github().await;
    let api = Api::serve_with(&db.db, &ExternalServices::default().with_github(&github), &[]).await;
    let (private, public) = key();
    github.install(installed("acme", public));
    let connect = async |clock_ahead: i64| {
        github.set_faults(GitHubFaults { clock_ahead, ..GitHubFaults::default() });
        let app = json!({"appId": "12", "installationId": 34, "privateKey": private});
        api.post(PATH, &body("shop", &app)).await
    };
    // This machine is ahead, so that `iat` is in GitHub's future and `exp` too far; or behind, so that `exp` is over.
    for ahead in [-90, -3_600, 600, 86_400] {
        let refused = connect(ahead).await;
        let problem = refused.problem(502, "GITHUB_CLOCK_SKEW");
        let detail = problem["detail"].as_str().unwrap();
        let named = |seconds: i64| detail.contains(&seconds.to_string());
        assert!((ahead - 2..=ahead + 2).any(named), "{ahead}: {detail}");
        assert_eq!(refused.header("retry-after"), "60");
    }
    // Within what the assertion allows for.
    for ahead in [-50, 480, 0] {
        assert_eq!(connect(ahead).await.status, 200, "{ahead}");
        github.repositories().end_installation_tokens();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_app__deploys_a_private_repository() {
    let env = Environment::with_files(tiny()).await;
    let (private, public) = key();
    env.github.install(installed(OWNER, public));
    let app = panda::domain::github_app::GithubApp {
        app_id: "12".to_owned(),
        installation_id: 34,
        private_key: SecretString::from(private),
    };
    let credential = app.to_secret();
    let id = crate::reconcile::deploy_with_token(&env, "main", secrecy::ExposeSecret::expose_secret(&credential)).await;
    let server = Panda::builder().environment(&env).server().await;
    crate::reconcile::status(&env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(env.github.installation_tokens(), 1);
    server.stop().await;
}
