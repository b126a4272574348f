//! Deployments at GitHub: its deployments with their states, and the statuses of the commits.

use panda_sandbox::git::SourceFile;
use panda_sandbox::github::GitHubFaults;
use panda_testing::api_client::ApiClient;
use panda_testing::serve::{Serve, ServeBuilder};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::http::Fixture;
use crate::support::db::TestDb;
use crate::support::environment::{Environment, OWNER, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

const PAGE: &str = "https://panda.example/base/";

fn server(env: &Environment) -> ServeBuilder {
    Panda::builder().environment(env).flags(&["--public-url=https://panda.example/base"]).process()
}

/// Creates the channel and returns its id.
async fn channel(serve: &Serve, settings: &Value) -> String {
    let api = ApiClient::of(serve.url.clone());
    let body = json!({"kind": "github", "github": settings, "language": "en"});
    let (status, made) = api.post("/channels", &body).await;
    assert_eq!(status, 200, "{made}");
    made["data"]["channelId"].as_str().unwrap().to_owned()
}

async fn status(api: &ApiClient, id: &str, wanted: &str) {
    wait_for(wanted, async || api.get(&format!("/deploy/{id}/result")).await.1["data"]["status"] == wanted).await;
}

/// Number of deployments and of statuses at GitHub.
fn made(env: &Environment) -> (usize, usize) {
    let name = format!("{OWNER}/{}", env.repo);
    (env.github.deployments(&name).len(), env.github.commit_statuses(&name).len())
}

/// GitHub's deployment of Panda's.
fn shown(env: &Environment, id: &str) -> Option<Value> {
    let all = env.github.deployments(&format!("{OWNER}/{}", env.repo));
    let mut of = all.into_iter().filter(|one| one["payload"]["pandaDeployment"] == id);
    let found = of.next();
    assert!(of.next().is_none(), "one deployment at GitHub for each of Panda's");
    found
}

/// States at GitHub, without repetitions.
fn states(env: &Environment, id: &str) -> Vec<String> {
    let all = shown(env, id).map(|one| one["statuses"].as_array().unwrap().clone()).unwrap_or_default();
    let mut states: Vec<String> = all.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect();
    states.dedup();
    states
}

async fn shows(env: &Environment, id: &str, expected: &[&str]) {
    wait_for(&format!("GitHub shows {expected:?}"), async || states(env, id) == expected).await;
}

fn commit_states(env: &Environment, sha: &Value) -> Vec<String> {
    let all = env.github.commit_statuses(&format!("{OWNER}/{}", env.repo)).into_iter();
    let mut states: Vec<String> = all
        .filter(|one| one["sha"] == *sha && one["context"] == "panda/staging")
        .map(|one| one["state"].as_str().unwrap().to_owned())
        .collect();
    states.dedup();
    states
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_channel__shows_deployments_as_the_traffic_is() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let serve = server(&env).ready().await;
    let api = ApiClient::of(serve.url.clone());
    channel(&serve, &json!({"environment": "staging"})).await;
    let request = api.connect(&env).await;

    let first = api.deploy(&request).await;
    status(&api, &first, "DEPLOYMENT_READY").await;
    shows(&env, &first, &["queued", "in_progress"]).await;
    let deployment = shown(&env, &first).unwrap();
    let waits = || shown(&env, &first).unwrap()["statuses"].as_array().unwrap().last().unwrap().clone();
    wait_for("the wait is shown", async || waits()["description"].as_str().unwrap().contains("waiting")).await;
    let green = waits();
    assert_eq!(green["log_url"], format!("{PAGE}deployments/{first}"));
    assert!(green["environment_url"].as_str().unwrap().starts_with("http"), "{green}");
    assert_eq!((&deployment["environment"], &deployment["production_environment"]), (&json!("staging"), &json!(false)));
    assert_eq!(deployment["ref"], deployment["sha"], "the commit, not the branch");
    assert_eq!(commit_states(&env, &deployment["sha"]), ["pending"], "ready is not the end");

    api.command(&first, "switch").await;
    shows(&env, &first, &["queued", "in_progress", "success"]).await;
    wait_for("its commit succeeded", async || commit_states(&env, &deployment["sha"]) == ["pending", "success"]).await;

    // A version that does not build, and one that is switched.
    let broken = vec![SourceFile::new("Dockerfile", "FROM scratch\nCOPY missing /\n")];
    env.github.repositories().commit(OWNER, &env.repo, "main", broken).await.unwrap();
    let failed = api.deploy(&request).await;
    shows(&env, &failed, &["queued", "in_progress", "failure"]).await;
    assert_eq!(states(&env, &first).last().unwrap(), "success", "it still has the traffic");
    env.github.repositories().commit(OWNER, &env.repo, "main", hello("2.0.0")).await.unwrap();
    let second = api.deploy(&request).await;
    status(&api, &second, "DEPLOYMENT_READY").await;
    api.command(&second, "switch").await;
    shows(&env, &second, &["queued", "in_progress", "success"]).await;
    shows(&env, &first, &["queued", "in_progress", "success", "inactive"]).await;

    // Cancelled while it waits.
    let third = api.deploy(&request).await;
    status(&api, &third, "DEPLOYMENT_READY").await;
    api.command(&third, "cancel").await;
    shows(&env, &third, &["queued", "in_progress", "inactive"]).await;
    assert_eq!(states(&env, &second).last().unwrap(), "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_channel__one_deployment_through_refusals_and_kills() {
    let env = Environment::with_files(hello("1.0.0")).await;
    let mut serve = server(&env).ready().await;
    let api = ApiClient::of(serve.url.clone());
    let id = channel(&serve, &json!({})).await;
    let request = api.connect(&env).await;
    env.github.set_faults(GitHubFaults { read_only: true, ..GitHubFaults::default() });
    let deployment = api.deploy(&request).await;
    // The deployment is not delayed, and the refusal is listed with its remedy.
    status(&api, &deployment, "DEPLOYMENT_READY").await;
    let deliveries = format!("/channels/{id}/deliveries?state=open");
    // The newest come first: they wait behind the one that was refused.
    let is_listed = async || {
        let page = api.get(&deliveries).await.1["data"]["deliveries"].as_array().cloned().unwrap_or_default();
        page.iter().any(|one| one["lastError"].as_str().is_some_and(|text| text.contains("deployments: write")))
    };
    wait_for("the refusal is listed", is_listed).await;
    assert_eq!(made(&env), (0, 0));

    // Killed around each of the first requests that GitHub accepts.
    env.github.set_faults(GitHubFaults::default());
    for _ in 0..3 {
        let before = made(&env);
        crate::webhooks::make_due(&env.db).await;
        wait_for("GitHub has got something", async || made(&env) != before || states(&env, &deployment).len() > 1)
            .await;
        serve.kill().await;
        serve = server(&env).ready().await;
    }
    let api = ApiClient::of(serve.url.clone());
    crate::webhooks::make_due(&env.db).await;
    shows(&env, &deployment, &["queued", "in_progress"]).await;
    api.command(&deployment, "switch").await;
    shows(&env, &deployment, &["queued", "in_progress", "success"]).await;
    let sha = shown(&env, &deployment).unwrap()["sha"].clone();
    let statuses = env.github.commit_statuses(&format!("{OWNER}/{}", env.repo));
    let of: Vec<&Value> = statuses.iter().filter(|one| one["sha"] == sha).collect();
    assert!(of.iter().all(|one| one["context"] == "panda/production"), "{of:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_channel__an_unreadable_token_holds_up_no_other_deployment() {
    let db = TestDb::new().await;
    let (mut broken, mut shop) =
        (Fixture::begin_of(&db.db, "acme", "broken").await, Fixture::begin_of(&db.db, "acme", "shop").await);
    let serve = Panda::builder().on(&db).process().ready().await;
    let id = channel(&serve, &json!({})).await;
    let sql = "UPDATE github_connections SET key_id = 'lost' WHERE repo = 'broken'";
    assert_eq!(sqlx::query(sql).execute(&mut db.psql().await).await.unwrap().rows_affected(), 1);
    broken.complete().await;
    shop.complete().await;
    let api = ApiClient::of(serve.url.clone());
    let of = async |path: String| api.get(&path).await.1["data"].clone();
    let open = async || of(format!("/channels/{id}/deliveries?state=open")).await["deliveries"].clone();
    wait_for("the reason is listed", async || open().await.to_string().contains("lost")).await;
    assert!(open().await.as_array().unwrap().iter().all(|one| one["deploymentId"] == broken.id()));
    wait_for("the other one is shown", async || of(format!("/channels/{id}")).await["delivered"] != 0).await;
}
