//! Checks of accounts in which something is wrong, and of services that do not answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use panda::domain::names::push_event_pattern;
use panda::domain::principal::Role;
use panda_testing::http::serve;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::Executor as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::aws::PATH;
use super::check::Checks;
use crate::http::auth::Token;
use crate::http::{Api, aws};

/// Keys of a session, as a connection's body.
fn session(sandbox: &panda_sandbox::Sandbox) -> (panda_sandbox::SandboxCredentials, Value) {
    let (keys, token) = sandbox.user_session("deployer", "panda");
    let body = json!({"accessKeyId": keys.access_key_id, "secretAccessKey": keys.secret_access_key.expose_secret(),
                      "sessionToken": token.expose_secret()});
    (keys, body)
}

/// A connection whose session has expired.
async fn expired() -> Checks {
    let mut keys = None;
    let env = Checks::with_credentials(|sandbox| {
        let (session, body) = session(sandbox);
        keys = Some(session);
        body
    })
    .await;
    env.sandbox.expire_session(&keys.unwrap());
    env
}

#[tokio::test]
async fn check__expired_credentials_named_once() {
    let env = expired().await;
    let checked = env.check().await;
    assert_eq!((checked.state("credentials"), &checked.0["state"]), ("missing", &json!("missing")));
    let renew = format!("panda connect aws --renew {}", env.aws);
    assert!(checked.words("credentials").contains(&renew), "{}", checked.words("credentials"));
    assert!(checked.words("credentials").contains("ExpiredToken"), "{}", checked.words("credentials"));
    assert_eq!(checked.required("missing"), ["credentials"], "the rest is not known");
    for id in ["ecrRepository", "eventRule", "user.ecr:PutImage", "user.ecr:GetAuthorizationToken"] {
        assert_eq!(checked.state(id), "unknown", "{id}");
    }
    for id in ["eventBus", "stateMachine", "sourceRepository", "controller.states:StopExecution"] {
        assert_eq!(checked.state(id), "present", "{id}");
    }
}

#[tokio::test]
async fn check__credentials_of_another_account() {
    let env = Checks::start().await;
    env.db.psql().await.execute("UPDATE aws_connections SET account_id = '111122223333'").await.unwrap();
    let checked = env.check().await;
    assert_eq!(checked.state("credentials"), "missing");
    let words = checked.words("credentials");
    assert!(words.contains("111122223333") && words.contains(env.sandbox.user_account_id()), "{words}");
}

#[tokio::test]
async fn check__removed_bus() {
    let env = Checks::start().await;
    let api = env.other(|there| there.preflight.event_bus = "removed".to_owned()).await;
    let checked = env.check_through(&api).await;
    assert_eq!(checked.state("eventBus"), "missing");
    let words = checked.words("eventBus");
    assert!(words.contains("removed") && words.contains("PANDA_EVENT_BUS"), "{words}");
    assert_eq!(checked.state("ruleRole"), "present", "a configured role is checked all the same");
}

/// The templates' bus has a rule that starts the state machine; a bus without one drops all events.
#[tokio::test]
async fn check__bus_without_pipeline() {
    let env = Checks::start().await;
    let controller = aws(&env.there, &[]).await;
    let api = env.other(|there| there.preflight.event_bus = "default".to_owned()).await;
    let checked = env.check_through(&api).await;
    assert_eq!(checked.state("stateMachine"), "missing");
    assert!(checked.words("stateMachine").contains("starts nothing"), "{}", checked.words("stateMachine"));
    assert!(controller.controller().bus.targets("panda").await.unwrap()[0].contains(":stateMachine:"));
}

#[tokio::test]
async fn check__bus_in_another_region_needs_role() {
    let env = Checks::start().await;
    env.sandbox.move_bus("us-east-1");
    let api = env.other(|there| there.preflight.rule_target_role_arn = None).await;
    let checked = env.check_through(&api).await;
    assert_eq!(checked.state("ruleRole"), "missing");
    let create = format!("panda connections create-role {}", env.aws);
    assert!(checked.words("ruleRole").contains(&create), "{}", checked.words("ruleRole"));
    assert!(checked.item("eventBus")["name"].as_str().unwrap().contains(":us-east-1:"));
    assert!(!checked.ids().contains("user.iam:PassRole"), "there is no role to pass");
}

#[tokio::test]
async fn check__role_that_does_not_trust_eventbridge() {
    let env = Checks::start().await;
    let role = format!("arn:aws:iam::{}:role/mine", env.sandbox.user_account_id());
    let api = env.other(|there| there.preflight.rule_target_role_arn = Some(role.clone())).await;
    assert!(env.check_through(&api).await.words("ruleRole").contains("no such role"));
    let statement =
        json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs.amazonaws.com"}});
    env.sandbox.put_role(&role, &json!({"Version": "2012-10-17", "Statement": [statement]}));
    let checked = env.check_through(&api).await;
    assert_eq!(checked.state("ruleRole"), "missing");
    assert!(checked.words("ruleRole").contains("events.amazonaws.com"), "{}", checked.words("ruleRole"));
}

#[tokio::test]
async fn check__full_bus_policy_and_rules() {
    let env = Checks::start().await;
    let clients = aws(&env.there, &[]).await;
    let bus = &clients.controller().bus;
    for number in 0.. {
        let account = format!("{:012}", 100_000_000_000_u64 + number);
        if bus.allow_account("panda", &format!("panda-{account}"), &account).await.is_err() {
            break;
        }
    }
    let stored = env.db.db.aws_connection(&env.aws).await.unwrap().unwrap();
    let user = clients.user_of(&stored, &stored.region);
    for number in 0..300 {
        user.rules.put_rule(&format!("rule-{number}"), &push_event_pattern("other"), "theirs").await.unwrap();
    }
    let checked = env.check().await;
    assert_eq!(checked.required("missing"), ["busPolicy", "busPolicyBytes", "eventRules"]);
    assert!(checked.words("busPolicy").contains("PANDA_BUS_POLICY=organization"), "{}", checked.words("busPolicy"));
    assert_eq!(checked.item("eventRules")["name"], "300 / 300");

    // Neither matters to an account that is permitted, and whose rule is there.
    bus.remove_statement("panda", "panda-100000000000").await.unwrap();
    bus.allow_account("panda", "theirs", env.sandbox.user_account_id()).await.unwrap();
    let rule = checked.item("eventRule")["name"].as_str().unwrap().to_owned();
    user.rules.delete_rule("rule-0").await.unwrap();
    user.rules.put_rule(&rule, &push_event_pattern("acme-shop"), "ours").await.unwrap();
    let checked = env.check().await;
    assert_eq!(checked.required("missing"), Vec::<&str>::new(), "{:#}", checked.0);
    assert_eq!((checked.state("busPolicy"), checked.state("eventRule")), ("present", "present"));
    assert_eq!(checked.item("controller.events:PutPermission")["required"], false);
}

#[tokio::test]
async fn check__managed_policy_shows_statement() {
    let env = Checks::start().await;
    let api = env.other(|there| there.preflight.bus_policy = panda::domain::bus_policy::BusPolicy::Managed).await;
    let checked = env.check_through(&api).await;
    let account = env.sandbox.user_account_id();
    assert_eq!(checked.required("missing"), ["busPolicy"]);
    assert!(checked.words("busPolicy").contains(&format!("panda-{account}")), "{}", checked.words("busPolicy"));
    assert!(!checked.ids().contains("controller.events:PutPermission"), "Panda does not write it");
}

/// AWS and GitHub accept connections, and never answer.
#[tokio::test]
async fn check__hanging_services_reported_in_time() {
    let env = Checks::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let api = env.other(|there| {
        there.aws_endpoint.clone_from(&address);
        there.github_api.clone_from(&address);
    });
    let checked = env.check_through(&api.await).await;
    assert_eq!((&checked.0["state"], checked.required("missing")), (&json!("unknown"), vec![]));
    assert_eq!(checked.state("database"), "present");
    for id in [
        "eventBus",
        "credentials",
        "sourceRepository",
        "ecrRepository",
        "stateMachine",
        "user.ecr:GetAuthorizationToken",
    ] {
        assert_eq!(checked.state(id), "unknown", "{id}");
        assert!(checked.words(id).contains("no answer within 4 s"), "{id}: {}", checked.words(id));
    }
}

/// Forwards calls to the sandbox once the gate is open.
async fn gated(sandbox: String, arrived: Arc<Semaphore>, gate: Arc<Semaphore>) -> (String, impl Sized) {
    let client = reqwest::Client::new();
    let forward = move |request: Request| {
        let (client, sandbox, arrived, gate) = (client.clone(), sandbox.clone(), arrived.clone(), gate.clone());
        async move {
            arrived.add_permits(1);
            gate.acquire().await.unwrap().forget();
            gate.add_permits(1);
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let sent = client.request(parts.method, &sandbox).headers(parts.headers).body(body).send().await.unwrap();
            let mut response = Response::builder().status(sent.status());
            response.headers_mut().unwrap().extend(sent.headers().clone());
            response.body(Body::from(sent.bytes().await.unwrap())).unwrap()
        }
    };
    let (url, serving) = serve(Router::new().fallback(forward)).await;
    (url.to_string(), serving)
}

#[tokio::test]
async fn check__connection_renewed_meanwhile() {
    let env = expired().await;
    let (arrived, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (url, _serving) = gated(env.there.aws_endpoint.clone(), arrived.clone(), gate.clone()).await;
    let api = env.other(|there| there.aws_endpoint = url).await;
    let (checked, ()) = tokio::join!(env.check_through(&api), async {
        arrived.acquire().await.unwrap().forget();
        let (_, mut body) = session(&env.sandbox);
        body["region"] = json!(env.sandbox.region());
        assert_eq!(env.api.put(&format!("{PATH}/{}", env.aws), &body).await.status, 200);
        gate.add_permits(1);
    });
    assert_eq!(checked.state("credentials"), "present", "{:#}", checked.item("credentials"));
    assert_eq!(checked.required("missing"), Vec::<&str>::new());
}

#[tokio::test]
async fn check__for_callers_who_may_deploy() {
    let env = Checks::start().await;
    let guarded = Api::serve_with(&env.db.db, &env.there, &["--auth=required"]).await;
    let status = async |token: &Token, path: &str| token.post(&guarded, path, &Value::Null).await.status;
    let (viewer, deployer) = (Token::of(&env.db.db, Role::Viewer).await, Token::of(&env.db.db, Role::Deployer).await);
    let of_others = Token::scoped(&env.db.db, Role::Deployer, &["other/*"]).await;
    let without = format!("{PATH}/{}/check", env.aws);
    let (with, unknown) = (env.path(), format!("{without}?githubConnectionId=gh_unknown"));
    assert_eq!(status(&viewer, &with).await, 403);
    assert_eq!(status(&deployer, &with).await, 200);
    assert_eq!((status(&of_others, &with).await, status(&of_others, &without).await), (404, 404));
    assert_eq!(status(&deployer, &unknown).await, 404);

    let checked = env.api.post(&without, &Value::Null).await.json();
    assert_eq!((&checked["data"]["repository"], &checked["data"]["state"]), (&Value::Null, &json!("unknown")));
    let items = checked["data"]["items"].as_array().unwrap();
    let push = items.iter().find(|item| item["id"] == "user.ecr:PutImage").unwrap();
    assert!(push["remedy"]["en"].as_str().unwrap().contains("--github"), "{push}");
}
