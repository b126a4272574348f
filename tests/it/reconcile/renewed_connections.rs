//! Credentials renewed while a deployment runs: it tries the new ones before it fails with the old.

use panda::commands::connect::aws::renew::replace_credentials;
use panda::commands::connect::github::renew::replace_token;
use panda::domain::Caller;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda_sandbox::github::GitHubFaults;
use panda_sandbox::{CallFault, Faults, InjectedError, SandboxCredentials};
use secrecy::SecretString;

use super::{Replica, deploy_with_token, status};
use crate::support::environment::{Environment, TOKEN};
use crate::support::wait_for;

#[tokio::test]
async fn renewed_connection__new_token_used_by_waiting_fetch() {
    let env = Environment::start().await;
    env.github.set_faults(GitHubFaults { unavailable: true, ..GitHubFaults::default() });
    let replica = Replica::start(&env, &[]);
    let id = deploy_with_token(&env, "main", "ghp_taken_back").await;
    let waits = async || {
        let view = env.db.db.deployment(&id).await.unwrap().unwrap();
        view.step == "fetch_source" && view.waiting_for.is_some()
    };
    wait_for("the source cannot be fetched", waits).await;
    let sql = "SELECT github_connection_id FROM deployments WHERE id = $1";
    let connection: String = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
    replace_token(&env.db.db, &connection, &SecretString::from(TOKEN), &Caller::local()).await.unwrap();
    env.github.set_faults(GitHubFaults::default());
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}

#[tokio::test]
async fn renewed_connection__revoked_old_keys_fail_nothing() {
    let env = Environment::start().await;
    let refuse =
        Some(InjectedError { code: "ThrottlingException".into(), message: "Rate exceeded".into(), times: None });
    let fault = CallFault { refuse, ..CallFault::default() };
    env.sandbox.faults().set(Faults { calls: [("events:PutRule".to_owned(), fault)].into(), ..Faults::default() });
    let id = deploy_with_token(&env, "main", TOKEN).await;
    let sql = "SELECT aws_connection_id FROM deployments WHERE id = $1";
    let connection: String = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
    let renew = async |keys: &SandboxCredentials, session_token: Option<SecretString>| {
        let (access_key_id, secret_access_key) = (keys.access_key_id.clone(), keys.secret_access_key.clone());
        let credentials = AwsCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token });
        replace_credentials(&env.db.db, &connection, (&credentials, "arn:x"), &Caller::local()).await.unwrap();
    };
    let (session, token) = env.sandbox.user_session("deployer", "monday");
    renew(&session, Some(token)).await;
    let replica = Replica::start(&env, &[]);
    let waits = async || env.db.db.deployment(&id).await.unwrap().unwrap().waiting_for.is_some();
    wait_for("AWS throttles", waits).await;
    renew(env.sandbox.user_credentials(), None).await;
    env.sandbox.end_session(&session);
    env.sandbox.faults().set(Faults::default());
    status(&env, &id, &["DEPLOYMENT_READY"]).await;
    replica.stop().await;
}
