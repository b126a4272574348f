//! Apps that GitHub creates from Panda's manifest, with requests in place of clicks.

mod crash;
mod states;

use futures_util::future::join_all;
use panda::db::Db;
use panda_sandbox::github::GitHub;
use panda_testing::answer::{Answer, Caller};
use pretty_assertions::assert_eq;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::http::auth::Token;
use crate::http::{Api, ExternalServices, external_services};
use crate::support::db::TestDb;
use panda::domain::principal::Role;

pub const APPS: &str = "/api/v1/github-apps";
pub const EXCHANGE: &str = "/api/v1/github-apps/exchange";
pub const BEGUN: &str = "GitHub App 생성을 시작했습니다.";
pub const CREATED: &str = "GitHub App이 생성되었습니다.";

fn browser() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// Posts a form, and returns the address to which the answer leads.
async fn click(address: &str, fields: &[(&str, &str)]) -> Url {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let form = browser().post(address).header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = form.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND, "{address}");
    answer.headers()["location"].to_str().unwrap().parse().unwrap()
}

fn query(address: &Url, name: &str) -> String {
    address.query_pairs().find(|(known, _)| known == name).unwrap().1.into_owned()
}

/// Creates the App of `begun` at GitHub, and returns the body with which Panda finishes it.
pub async fn create_at(github: &GitHub, begun: &Value) -> Value {
    let address: Url = begun["address"].as_str().unwrap().parse().unwrap();
    let manifest = begun["manifest"].to_string();
    let review = url::form_urlencoded::Serializer::new(String::new()).append_pair("manifest", &manifest).finish();
    let review = browser().post(address.clone()).body(review).send().await.unwrap();
    let status = review.status();
    assert_eq!(status, StatusCode::OK, "{}", review.text().await.unwrap());
    let owner =
        address.path().strip_prefix("/organizations/").map_or("octocat", |rest| rest.split('/').next().unwrap());
    let (state, name) = (query(&address, "state"), begun["manifest"]["name"].as_str().unwrap());
    let fields = [("manifest", manifest.as_str()), ("state", &state), ("name", name), ("owner", owner)];
    let back = click(&format!("{}/settings/apps", github.git_url()), &fields).await;
    assert_eq!(back.path(), "/connections/github-apps/callback");
    json!({"code": query(&back, "code"), "state": query(&back, "state")})
}

/// Installs an App of the API in `acme`, and returns the installation's id.
pub async fn install(app: &Value) -> u64 {
    let install = app["installationAddress"].as_str().unwrap();
    assert!(browser().get(install).send().await.unwrap().status().is_success());
    let back = click(install.trim_end_matches("/new"), &[("account", "acme")]).await;
    assert_eq!(back.path(), format!("/connections/github-apps/{}", app["githubAppId"].as_str().unwrap()));
    query(&back, "installation_id").parse().unwrap()
}

/// An API with the sandbox's GitHub and an address of its page.
pub struct Site {
    pub db: TestDb,
    pub github: GitHub,
    pub api: Api,
    _root: tempfile::TempDir,
}

impl Site {
    pub async fn open(flags: &[&str]) -> Self {
        let db = TestDb::new().await;
        let access = db.db.clone();
        Self::of(db, &access, flags).await
    }

    /// The same with another access to the database, such as with other keys.
    pub async fn of(db: TestDb, access: &Db, flags: &[&str]) -> Self {
        let (github, root) = external_services::github().await;
        let there = ExternalServices::default().with_github(&github).with_public_url();
        let api = Api::serve_with(access, &there, flags).await;
        Self { db, github, api, _root: root }
    }

    pub async fn begin(&self, by: &Caller, body: &Value) -> Value {
        by.post(APPS, body).await.data(BEGUN)
    }

    /// The rows that callers see.
    pub async fn apps(&self, by: &Caller) -> Vec<Value> {
        by.get(APPS).await.data("GitHub App 목록 조회 성공")["apps"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn github_apps__created_installed_and_connected() {
    let site = Site::open(&[]).await;
    let begun = site.begin(&site.api, &json!({"organization": "acme"})).await;
    let manifest = &begun["manifest"];
    let permissions = json!({"contents": "read", "metadata": "read", "deployments": "write", "statuses": "write"});
    assert_eq!((&manifest["default_permissions"], &manifest["public"]), (&permissions, &json!(false)));
    assert_eq!((&manifest["default_events"], &manifest["hook_attributes"]), (&json!([]), &Value::Null));
    assert!(site.apps(&site.api).await.is_empty(), "nothing is created yet");
    let returned = create_at(&site.github, &begun).await;
    // Several tabs, or a person who does not wait: GitHub is asked once.
    let answers = join_all((0..4).map(|_| site.api.post(EXCHANGE, &returned))).await;
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.problem(409, "GITHUB_APP_EXCHANGING");
    }
    let app = answers.iter().find(|answer| answer.status == 200).unwrap().data(CREATED);
    assert_eq!(
        (&app["status"], &app["appId"], &app["organization"]),
        (&json!("created"), &json!("1000"), &json!("acme"))
    );
    // The answer was lost: the same request again has no second effect.
    assert_eq!(site.api.post(EXCHANGE, &returned).await.data(CREATED), app);
    assert_eq!(site.github.created_apps()[0].exchanges, 1);
    assert_eq!(site.apps(&site.api).await, std::slice::from_ref(&app));

    let id = app["githubAppId"].as_str().unwrap();
    let installation = install(&app).await;
    let connect = |installation: u64| json!({"owner": "acme", "repo": "shop", "branch": "main", "app": {"githubAppId": id, "installationId": installation}});
    // An installation that someone made up, or of another App.
    let foreign = site.api.post("/api/v1/connect/github", &connect(installation + 1)).await;
    assert_eq!(foreign.problem(400, "GITHUB_INSTALLATION_NOT_FOUND")["field"], "app.installationId");
    let connected = site.api.post("/api/v1/connect/github", &connect(installation)).await;
    let connection = connected.data("GitHub 연결에 성공했습니다.")["githubConnectionId"].clone();
    let connection = connection.as_str().unwrap();
    let renewal = json!({"app": {"githubAppId": id, "installationId": installation}});
    assert_eq!(site.api.put(&format!("/api/v1/connect/github/{connection}"), &renewal).await.status, 200);

    // The key is stored encrypted, and neither key nor code nor state are anywhere else.
    let tables = "SELECT (SELECT string_agg(encode(convert_to(g::text, 'UTF8'), 'escape'), ' ') FROM github_apps g)
                      || (SELECT string_agg(encode(private_key_encrypted, 'escape'), ' ') FROM github_apps)
                      || (SELECT string_agg(a::text, ' ') FROM audit a)";
    let tables: String = sqlx::query_scalar(tables).fetch_one(&mut site.db.psql().await).await.unwrap();
    assert!(tables.contains("github_app.begin") && tables.contains("github_app.create"));
    for secret in ["PRIVATE KEY", returned["code"].as_str().unwrap(), returned["state"].as_str().unwrap()] {
        assert!(!tables.contains(secret) && !app.to_string().contains(secret), "{secret} in {tables}");
    }

    // Removed from Panda: the connection keeps its key.
    assert_eq!(site.api.delete(&format!("{APPS}/{id}")).await.data("GitHub App이 삭제되었습니다."), app);
    site.api.post("/api/v1/connect/github", &connect(installation)).await.problem(404, "GITHUB_APP_NOT_FOUND");
    let stored = site.db.db.github_connection(connection).await.unwrap().unwrap();
    assert_eq!(panda::domain::github_app::GithubApp::of_secret(&stored.token).unwrap().app_id, "1000");
}

#[tokio::test]
async fn github_apps__push_hook_verifies_the_events_of_its_app() {
    let site = Site::open(&["--auth=required"]).await;
    let (github, aws) = crate::http::fixture::connections(&site.db.db).await;
    let admin = site.api.signed_in(&Token::of(&site.db.db, Role::Admin).await.secret);
    let rule = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branches": ["main"]});
    let made = admin.post("/api/v1/hooks", &json!({"rules": [rule]})).await.data("푸시 훅이 생성되었습니다.");
    let (hook, path) = (made["hook"]["hookId"].as_str().unwrap(), made["hook"]["payloadPath"].as_str().unwrap());
    // Only an admin of its repositories may give it to an App.
    let deployer = site.api.signed_in(&Token::of(&site.db.db, Role::Deployer).await.secret);
    deployer.post(APPS, &json!({"pushHookId": hook})).await.problem(403, "NOT_ALLOWED");
    admin.post(APPS, &json!({"pushHookId": "hok_unknown"})).await.problem(404, "HOOK_NOT_FOUND");
    let begun = site.begin(&admin, &json!({"pushHookId": hook, "name": "Panda pushes"})).await;
    assert!(begun["manifest"]["hook_attributes"]["url"].as_str().unwrap().ends_with(path), "{begun}");
    assert_eq!(begun["manifest"]["default_events"], json!(["push"]));
    let app = admin.post(EXCHANGE, &create_at(&site.github, &begun).await).await.data(CREATED);
    assert_eq!(app["pushHookId"], hook);
    let secret = site.github.created_apps()[0].webhook_secret.clone().unwrap();
    let ping = async |secret: &str, delivery: &str| {
        let request =
            site.api.client.post(format!("{}{path}", site.api.base)).header("content-type", "application/json");
        let request = request.header("x-github-event", "ping").header("x-github-delivery", delivery);
        let signed = request.header("x-hub-signature-256", crate::pushes::signature(secret, b"{}"));
        Answer::of(signed.body("{}").send().await.unwrap()).await.status
    };
    assert_eq!(ping(&secret, "01970000-0000-7000-8000-000000000001").await, 202);
    let before = made["secret"].as_str().unwrap();
    assert_eq!(ping(before, "01970000-0000-7000-8000-000000000002").await, 202, "for a day more");
    assert_eq!(ping("phs_wrong", "01970000-0000-7000-8000-000000000003").await, 401);
    let shown = admin.get(&format!("/api/v1/hooks/{hook}")).await.json();
    assert_eq!(shown["data"]["previousSecretsUntil"].as_array().unwrap().len(), 1);
}
