//! Credentials that are renewed while a deployment runs: it uses the new ones before it fails with the old.

use panda::db::connections::renew::Renewed;
use panda::domain::Caller;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda::sandbox::github::GitHubFaults;
use panda::sandbox::{CallFault, Faults, Refusal, SandboxCredentials};
use secrecy::SecretString;

use super::{Replica, deploy_with_token, status};
use crate::support::wait_for;
use crate::support::world::{TOKEN, World};

#[tokio::test]
async fn a_token_that_is_renewed_while_the_source_waits_is_used() {
    let world = World::start().await;
    world.github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    let replica = Replica::start(&world, &[]);
    let id = deploy_with_token(&world, "main", "ghp_taken_back").await;
    let waits = async || {
        let view = world.db.db.deployment(&id).await.unwrap().unwrap();
        view.step == "fetch_source" && view.waiting_for.is_some()
    };
    wait_for("the source cannot be fetched", waits).await;
    let sql = "SELECT github_connection_id FROM deployments WHERE id = $1";
    let connection: String = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut world.db.psql().await).await.unwrap();
    let renewed = world.db.db.renew_github(&connection, &SecretString::from(TOKEN), &Caller::local()).await.unwrap();
    assert_eq!(renewed, Renewed::Now);
    world.github.set_faults(GitHubFaults::default());
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test]
async fn keys_that_are_taken_back_after_a_renewal_fail_nothing() {
    let world = World::start().await;
    let refuse = Some(Refusal { code: "ThrottlingException".into(), message: "Rate exceeded".into(), times: None });
    let fault = CallFault { refuse, ..CallFault::default() };
    world.sandbox.faults().set(Faults { calls: [("events:PutRule".to_owned(), fault)].into(), ..Faults::default() });
    let id = deploy_with_token(&world, "main", TOKEN).await;
    let sql = "SELECT aws_connection_id FROM deployments WHERE id = $1";
    let connection: String = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut world.db.psql().await).await.unwrap();
    let renew = async |keys: &SandboxCredentials, session_token: Option<SecretString>| {
        let (access_key_id, secret_access_key) = (keys.access_key_id.clone(), keys.secret_access_key.clone());
        let credentials = AwsCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token });
        let renewed = world.db.db.renew_aws(&connection, &credentials, "arn:x", None, &Caller::local()).await;
        assert_eq!(renewed.unwrap(), Renewed::Now);
    };
    let (session, token) = world.sandbox.user_session("deployer", "monday");
    renew(&session, Some(token)).await;
    let replica = Replica::start(&world, &[]);
    let waits = async || world.db.db.deployment(&id).await.unwrap().unwrap().waiting_for.is_some();
    wait_for("AWS throttles", waits).await;
    renew(world.sandbox.user_credentials(), None).await;
    world.sandbox.end_session(&session);
    world.sandbox.faults().set(Faults::default());
    status(&world, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
