//! Each role may what those before it may, and no more.

use panda::domain::principal::Role;
use serde_json::{Value, json};

use super::{Token, serve};
use crate::http::{Answer, Api, Story, story};
use crate::support::db::TestDb;

/// One token of each role.
struct Tokens([(Role, Token); 4]);

impl Tokens {
    async fn of(db: &TestDb) -> Self {
        let of = async |role| (role, Token::of(&db.db, role).await);
        Self([of(Role::Viewer).await, of(Role::Deployer).await, of(Role::Approver).await, of(Role::Admin).await])
    }

    fn with(&self, role: Role) -> &Token {
        &self.0.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// Asks with those below `least`, who are refused, naming what is needed.
    async fn refused_below(&self, least: Role, api: &Api, path: &str, body: &Value) {
        for (role, token) in self.0.iter().filter(|(role, _)| *role < least) {
            let problem = token.post(api, path, body).await.problem(403, "NOT_ALLOWED");
            let message = problem["message"].as_str().unwrap();
            assert!(message.contains("needs the role") && message.contains(&format!("yours is {role}")), "{message}");
        }
    }
}

fn accepted(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn everybody_reads() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let mut story = Story::begin(&db.db).await;
    story.build_lines(1, 1).await;
    let id = story.id();
    let (result, events) = (format!("/api/v1/deploy/{id}/result"), format!("/api/v1/deploy/{id}/events"));
    for (_, token) in &tokens.0 {
        for path in ["/api/v1/connections", "/api/v1/deploy", "/api/v1/deploy/current", &result] {
            accepted(&token.get(&api, path).await);
        }
        assert_eq!(token.follow(&api, &events).await.take(1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_deployer_deploys_cancels_and_retries_and_an_approver_switches() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let github = story::github_connection(&db.db, "acme", "shop").await;
    let aws = story::aws_connection(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    tokens.refused_below(Role::Deployer, &api, "/api/v1/deploy", &body).await;
    accepted(&tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await);
    for path in ["/api/v1/connect/github", "/api/v1/connect/aws"] {
        tokens.refused_below(Role::Deployer, &api, path, &json!({})).await;
        tokens.with(Role::Deployer).post(&api, path, &json!({})).await.problem(400, "INVALID_FIELD");
    }

    let mut story = Story::begin_of(&db.db, "acme", "site").await;
    let of = |wish: &str| format!("/api/v1/deploy/{}/{wish}", story.id());
    let (cancel, retry, switch) = (of("cancel"), of("retry"), of("switch"));
    story.ready().await;
    tokens.refused_below(Role::Approver, &api, &switch, &json!({})).await;
    tokens.refused_below(Role::Deployer, &api, &cancel, &json!({})).await;
    accepted(&tokens.with(Role::Approver).post(&api, &switch, &json!({})).await);
    // From here on its end is a rollback, and another attempt may move traffic.
    tokens.refused_below(Role::Approver, &api, &cancel, &json!({})).await;
    story.claim_again().await;
    story.fail().await;
    tokens.refused_below(Role::Approver, &api, &retry, &json!({})).await;
    accepted(&tokens.with(Role::Approver).post(&api, &retry, &json!({})).await);
    // What was to be switched stays so, however many attempts ago.
    let mut story = story.retried().await;
    story.fail().await;
    tokens.refused_below(Role::Approver, &api, &retry, &json!({})).await;

    let mut other = Story::begin_of(&db.db, "acme", "blog").await;
    accepted(
        &tokens.with(Role::Deployer).post(&api, &format!("/api/v1/deploy/{}/cancel", other.id()), &json!({})).await,
    );
    other.fail().await;
    accepted(
        &tokens.with(Role::Deployer).post(&api, &format!("/api/v1/deploy/{}/retry", other.id()), &json!({})).await,
    );
}

#[tokio::test]
async fn who_may_not_stop_a_switch_may_not_supersede_it_either() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let mut story = Story::begin_at(&db.db, "acme", "shop", "123456789012").await;
    story.ready().await;
    let switch = format!("/api/v1/deploy/{}/switch", story.id());
    accepted(&tokens.with(Role::Approver).post(&api, &switch, &json!({})).await);
    let github = story::github_connection(&db.db, "acme", "shop").await;
    let aws = story::aws_connection(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop",
                      "branch": "main", "concurrency": "supersede"});
    tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await.problem(403, "NOT_ALLOWED");
    let view = db.db.deployment(story.id()).await.unwrap().unwrap();
    assert_eq!(view.superseded_by, None);
    accepted(&tokens.with(Role::Approver).post(&api, "/api/v1/deploy", &body).await);
}

#[tokio::test]
async fn who_started_a_deployment_is_kept() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let github = story::github_connection(&db.db, "acme", "shop").await;
    let aws = story::aws_connection(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    accepted(&tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await);
    let by: Option<String> =
        sqlx::query_scalar("SELECT started_by FROM deployments").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(by.as_deref(), Some("deployer-test"));
}
