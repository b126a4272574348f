//! A push of a real repository, until its version is ready to be switched.

use panda_sandbox::git::SourceFile;
use serde_json::json;

use super::github::{of, push, to_ref};
use super::{hook, received};
use crate::reconcile::{connect, status};
use crate::support::environment::{Environment, OWNER, TOKEN, tiny};
use crate::support::panda::Panda;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push__deploys_the_pushed_commit_though_the_branch_moved() {
    let env = Environment::with_files(tiny()).await;
    let (github, aws) = connect(&env, "main", TOKEN).await;
    let server = Panda::builder().environment(&env).server().await;
    wait_for("the server is ready", async || server.is_ready().await).await;
    let caller = panda_testing::answer::Caller::of(server.base.clone());
    let rule = json!({"githubConnectionId": github.id, "awsConnectionId": aws.id, "owner": OWNER, "repo": env.repo, "branches": ["main"]});
    let (id, webhook) = hook(&caller, &json!({"name": "shop", "rules": [rule]})).await;
    let pushed = env.github.repositories().head(OWNER, &env.repo, "main").await.unwrap().sha;
    // Another commit follows before the deployment fetches its source; it could not be built.
    let broken = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN exit 3\n");
    env.github.repositories().commit(OWNER, &env.repo, "main", vec![broken]).await.unwrap();
    let mut payload = to_ref(push(super::github::NONE, &pushed), "refs/heads/main");
    of(&mut payload["repository"], OWNER, &env.repo);
    let data = received(&webhook.send("push", &payload).await, "RULE_MATCHED");
    let ready = status(&env, data["deploymentId"].as_str().unwrap(), &["DEPLOYMENT_READY"]).await;
    assert_eq!(ready.facts.commit_sha, Some(pushed));
    assert_eq!(ready.started_by, Some(format!("hook:{id}")));
    let metrics = caller.get("/metrics").await.text;
    assert!(metrics.contains("panda_push_deliveries_total{decision=\"started\"} 1"), "{metrics}");
    server.stop().await;
}
