//! Credentials renewed while a deployment runs: it tries the new ones before it fails with the old, and waits for new ones once AWS refuses the old.

use panda::commands::connect::aws::renew::replace_credentials;
use panda::commands::connect::github::renew::replace_token;
use panda::domain::Caller;
use panda::domain::ErrorCode;
use panda::domain::connection::{AwsCredentials, AwsKeys, TargetRoleRequest};
use panda_sandbox::github::GitHubFaults;
use panda_sandbox::{CallFault, Faults, InjectedError, SandboxCredentials, ShiftFault};
use pretty_assertions::assert_eq;
use secrecy::SecretString;

use super::{Replica, codes, deploy_with_token, events, status};
use crate::support::commands::Commands;
use crate::support::environment::{Environment, TOKEN, tiny};
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
        let (replaced, keep) = ((&credentials, "arn:x"), TargetRoleRequest::Keep);
        replace_credentials(&env.db.db, &connection, replaced, &keep, &Caller::local()).await.unwrap();
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

/// A deployment with the keys of a session, which can be ended.
struct Temporary {
    id: String,
    connection: String,
    session: SandboxCredentials,
}

impl Temporary {
    async fn deploy(env: &Environment) -> Self {
        let id = deploy_with_token(env, "main", TOKEN).await;
        let sql = "SELECT aws_connection_id FROM deployments WHERE id = $1";
        let connection: String = sqlx::query_scalar(sql).bind(&id).fetch_one(&mut env.db.psql().await).await.unwrap();
        let (session, token) = env.sandbox.user_session("deployer", "monday");
        let temporary = Self { id, connection, session };
        temporary.replace(env, &temporary.session, Some(token)).await;
        temporary
    }

    /// Replaces the connection's credentials by those of the user.
    async fn renew(&self, env: &Environment) {
        self.replace(env, env.sandbox.user_credentials(), None).await;
    }

    async fn replace(&self, env: &Environment, keys: &SandboxCredentials, session_token: Option<SecretString>) {
        let (access_key_id, secret_access_key) = (keys.access_key_id.clone(), keys.secret_access_key.clone());
        let credentials = AwsCredentials::Keys(AwsKeys { access_key_id, secret_access_key, session_token });
        let (replaced, keep) = ((&credentials, "arn:x"), TargetRoleRequest::Keep);
        replace_credentials(&env.db.db, &self.connection, replaced, &keep, &Caller::local()).await.unwrap();
    }

    fn expire(&self, env: &Environment) {
        env.sandbox.end_session(&self.session);
    }

    /// Waits until the deployment waits for a renewal, for `ms` milliseconds by the database's clock.
    async fn waits(&self, env: &Environment, ms: i32) {
        let sql = "SELECT count(*) = 1 FROM deployments d JOIN deployment_events e ON e.deployment_id = d.id AND e.code = 'credentials_rejected'
                   WHERE d.id = $1 AND (d.facts->>'awaits_renewal')::boolean AND clock_timestamp() - e.created_at > $2 * interval '1 ms'";
        wait_for("the deployment waits for a renewal", async || {
            let waits = sqlx::query_scalar::<_, bool>(sql).bind(&self.id).bind(ms);
            waits.fetch_one(&mut env.db.psql().await).await.unwrap()
        })
        .await;
        let view = env.db.db.deployment(&self.id).await.unwrap().unwrap();
        assert!(
            view.waiting_for
                .unwrap()
                .starts_with(&format!("renewed credentials of AWS connection {}", self.connection))
        );
        assert_eq!(view.error_code, None);
    }

    async fn count(&self, env: &Environment, code: &str) -> usize {
        codes(&events(env, &self.id).await).into_iter().filter(|emitted| *emitted == code).count()
    }

    async fn request_switch(&self, env: &Environment) {
        env.db.db.request_switch(&self.id).await.unwrap();
        env.db.db.notify_work(&self.id).await.unwrap();
    }

    async fn request_cancel(&self, env: &Environment) {
        env.db.db.request_cancel(&self.id).await.unwrap();
        env.db.db.notify_work(&self.id).await.unwrap();
    }

    /// Waits until the deployment is cancelled; returns the message.
    async fn cancelled(&self, env: &Environment) -> String {
        let failed = status(env, &self.id, &["FAILED"]).await;
        assert_eq!(failed.error_code.as_deref(), Some(ErrorCode::Cancelled.as_str()), "{:?}", failed.error_message);
        failed.error_message.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__deployment_waits_beyond_its_limits() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    deployment.expire(&env);
    let replica = Replica::start(&env, &["--step-limit-ms=8000"]);
    deployment.waits(&env, 8_500).await;
    deployment.renew(&env).await;
    let ready = status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(ready.facts.awaits_renewal, Some(false));
    assert!(ready.facts.renewal_wait_ms.unwrap() >= 8_000);
    let emitted = events(&env, &deployment.id).await;
    assert_eq!(codes(&emitted)[..3], ["credentials_rejected", "credentials_accepted", "event_rule_created"]);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__switch_waits_until_renewed() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let dying = Replica::start(&env, &["--lease-ms=1500"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.request_switch(&env).await;
    deployment.waits(&env, 0).await;
    let owner = async || {
        let sql = "SELECT replica_id FROM deployments WHERE id = $1";
        let owner = sqlx::query_scalar::<_, Option<sqlx::types::Uuid>>(sql).bind(&deployment.id);
        owner.fetch_one(&mut env.db.psql().await).await.unwrap()
    };
    let before = owner().await;
    dying.kill();
    let other = Replica::start(&env, &["--lease-ms=1500"]);
    wait_for("another replica owns the deployment", async || owner().await.is_some_and(|now| Some(now) != before))
        .await;
    deployment.renew(&env).await;
    status(&env, &deployment.id, &["COMPLETED"]).await;
    assert_eq!(deployment.count(&env, "credentials_rejected").await, 1);
    assert_eq!(deployment.count(&env, "credentials_accepted").await, 1);
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.continued.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__waiting_deployment_cancelled() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &[]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.request_switch(&env).await;
    deployment.waits(&env, 0).await;
    deployment.request_cancel(&env).await;
    let message = deployment.cancelled(&env).await;
    assert!(message.contains("AWS에서 확인하세요") && message.contains("codedeploy:StopDeployment"), "{message}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__cancellation_waits_until_renewed() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &[]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.request_cancel(&env).await;
    deployment.waits(&env, 0).await;
    deployment.renew(&env).await;
    let message = deployment.cancelled(&env).await;
    assert!(!message.contains("AWS에서 확인하세요"), "{message}");
    let effects = env.sandbox.effects(&env.ecr_repository());
    assert_eq!(effects.stopped.values().copied().collect::<Vec<_>>(), [1], "{effects:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__cancellation_ends_at_its_limit() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &["--step-limit-ms=8000"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.request_cancel(&env).await;
    let message = deployment.cancelled(&env).await;
    assert!(message.contains("AWS에서 확인하세요") && message.contains("codedeploy:StopDeployment"), "{message}");
    assert_eq!(deployment.count(&env, "credentials_rejected").await, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__shift_confirmed_after_renewal() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &["--switch-limit-ms=8000"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(Faults { shifts: [("*".to_owned(), ShiftFault::Stuck)].into(), ..Faults::default() });
    deployment.request_switch(&env).await;
    let shifting = async || deployment.count(&env, "switch_started").await == 1;
    wait_for("the traffic shifts", shifting).await;
    deployment.expire(&env);
    deployment.waits(&env, 8_500).await;
    env.sandbox.faults().clear();
    deployment.renew(&env).await;
    status(&env, &deployment.id, &["COMPLETED"]).await;
    replica.stop().await;
}

/// A denial is no reason to report a failure while the traffic moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_look__shift_not_reported_as_failed() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &[]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    env.sandbox.faults().set(Faults { shifts: [("*".to_owned(), ShiftFault::Stuck)].into(), ..Faults::default() });
    deployment.request_switch(&env).await;
    let shifting = async || deployment.count(&env, "switch_started").await == 1;
    wait_for("the traffic shifts", shifting).await;
    let denied = CallFault { deny: true, ..CallFault::default() };
    env.sandbox.faults().update(|faults| _ = faults.calls.insert("codedeploy:GetDeployment".to_owned(), denied));
    let waits = async || deployment.count(&env, "step_waiting").await == 1;
    wait_for("the denial is reported", waits).await;
    env.sandbox.faults().clear();
    status(&env, &deployment.id, &["COMPLETED"]).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__reported_while_ready_until_renewed() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    // Longer than several looks: the refusal is reported once.
    deployment.waits(&env, 1_500).await;
    assert_eq!(deployment.count(&env, "credentials_rejected").await, 1);
    let at_rest = "SELECT status = 'DEPLOYMENT_READY' AND watched AND NOT active FROM deployments WHERE id = $1";
    let at_rest: bool =
        sqlx::query_scalar(at_rest).bind(&deployment.id).fetch_one(&mut env.db.psql().await).await.unwrap();
    assert!(at_rest, "no replica is busy with it");
    deployment.renew(&env).await;
    wait_for("the renewal is noticed", async || {
        let view = env.db.db.deployment(&deployment.id).await.unwrap().unwrap();
        view.facts.awaits_renewal == Some(false) && view.waiting_for.as_deref() == Some("approval of the switch")
    })
    .await;
    assert_eq!(deployment.count(&env, "credentials_accepted").await, 1);
    let view = env.db.db.deployment(&deployment.id).await.unwrap().unwrap();
    assert_eq!(view.facts.renewal_wait_ms, Some(0), "the wait for the switch has no limit to extend");
    deployment.request_switch(&env).await;
    status(&env, &deployment.id, &["COMPLETED"]).await;
    replica.stop().await;
}

/// Throttling says nothing about credentials: only an answer ends the wait for their renewal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_look__renewal_still_awaited_while_ready() {
    const CALL: &str = "codedeploy:GetDeployment";
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.waits(&env, 0).await;
    let refuse =
        Some(InjectedError { code: "ThrottlingException".into(), message: "Rate exceeded".into(), times: None });
    let fault = CallFault { refuse, ..CallFault::default() };
    env.sandbox.faults().set(Faults { calls: [(CALL.to_owned(), fault)].into(), ..Faults::default() });
    let received = || env.sandbox.all_effects().calls.get(CALL).map_or(0, |count| count.received);
    let before = received();
    deployment.renew(&env).await;
    wait_for("several looks are throttled", async || received() >= before + 12).await;
    assert_eq!(deployment.count(&env, "credentials_accepted").await, 0);
    deployment.waits(&env, 0).await;
    env.sandbox.faults().clear();
    wait_for("the renewal is noticed", async || deployment.count(&env, "credentials_accepted").await == 1).await;
    assert_eq!(deployment.count(&env, "credentials_rejected").await, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials__switch_requested_meanwhile_is_done_after_renewal() {
    let env = Environment::with_files(tiny()).await;
    let deployment = Temporary::deploy(&env).await;
    let replica = Replica::start(&env, &["--watch-interval-ms=300"]);
    status(&env, &deployment.id, &["DEPLOYMENT_READY"]).await;
    deployment.expire(&env);
    deployment.waits(&env, 0).await;
    deployment.request_switch(&env).await;
    let switching = async || env.db.db.deployment(&deployment.id).await.unwrap().unwrap().step == "switch_traffic";
    wait_for("the switch is tried", switching).await;
    deployment.waits(&env, 500).await;
    assert_eq!(deployment.count(&env, "credentials_accepted").await, 0);
    deployment.renew(&env).await;
    status(&env, &deployment.id, &["COMPLETED"]).await;
    assert_eq!(deployment.count(&env, "credentials_rejected").await, 1);
    assert_eq!(deployment.count(&env, "credentials_accepted").await, 1);
    replica.stop().await;
}
