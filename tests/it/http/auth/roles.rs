//! Each role may do everything the lesser roles may, and no more.

use panda::domain::principal::Role;
use serde_json::{Value, json};

use super::{Token, serve};
use crate::http::{Answer, Api, Fixture, fixture};
use crate::support::db::TestDb;

/// One token per role.
struct Tokens([(Role, Token); 4]);

impl Tokens {
    async fn of(db: &TestDb) -> Self {
        let of = async |role| (role, Token::of(&db.db, role).await);
        Self([of(Role::Viewer).await, of(Role::Deployer).await, of(Role::Approver).await, of(Role::Admin).await])
    }

    fn with(&self, role: Role) -> &Token {
        &self.0.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// Asserts that every role below `least` is refused with the required role named.
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
async fn roles__every_role_reads() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let mut fixture = Fixture::begin(&db.db).await;
    fixture.build_lines(1, 1).await;
    let id = fixture.id();
    let (result, events) = (format!("/api/v1/deploy/{id}/result"), format!("/api/v1/deploy/{id}/events"));
    for (_, token) in &tokens.0 {
        for path in ["/api/v1/connections", "/api/v1/deploy", "/api/v1/deploy/current", &result] {
            accepted(&token.get(&api, path).await);
        }
        assert_eq!(token.follow(&api, &events).await.take(1).await.len(), 1);
    }
}

#[tokio::test]
async fn roles__deployer_deploys_approver_switches() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let (github, aws) = fixture::connections(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    tokens.refused_below(Role::Deployer, &api, "/api/v1/deploy", &body).await;
    accepted(&tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await);
    for path in ["/api/v1/connect/github", "/api/v1/connect/aws"] {
        tokens.refused_below(Role::Deployer, &api, path, &json!({})).await;
        tokens.with(Role::Deployer).post(&api, path, &json!({})).await.problem(400, "INVALID_FIELD");
    }

    let mut fixture = Fixture::begin_of(&db.db, "acme", "site").await;
    let of = |command: &str| format!("/api/v1/deploy/{}/{command}", fixture.id());
    let (cancel, retry, switch) = (of("cancel"), of("retry"), of("switch"));
    fixture.ready().await;
    tokens.refused_below(Role::Approver, &api, &switch, &json!({})).await;
    tokens.refused_below(Role::Deployer, &api, &cancel, &json!({})).await;
    accepted(&tokens.with(Role::Approver).post(&api, &switch, &json!({})).await);
    // From here on a cancellation rolls back, and another attempt may move traffic.
    tokens.refused_below(Role::Approver, &api, &cancel, &json!({})).await;
    fixture.claim_again().await;
    fixture.fail().await;
    tokens.refused_below(Role::Approver, &api, &retry, &json!({})).await;
    accepted(&tokens.with(Role::Approver).post(&api, &retry, &json!({})).await);
    // A deployment whose switch was requested keeps that property over any number of attempts.
    let mut fixture = fixture.retried().await;
    fixture.fail().await;
    tokens.refused_below(Role::Approver, &api, &retry, &json!({})).await;

    let mut other = Fixture::begin_of(&db.db, "acme", "blog").await;
    accepted(
        &tokens.with(Role::Deployer).post(&api, &format!("/api/v1/deploy/{}/cancel", other.id()), &json!({})).await,
    );
    other.fail().await;
    accepted(
        &tokens.with(Role::Deployer).post(&api, &format!("/api/v1/deploy/{}/retry", other.id()), &json!({})).await,
    );
}

#[tokio::test]
async fn roles__supersede_needs_right_to_stop_switch() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let mut fixture = Fixture::begin_at(&db.db, "acme", "shop", "123456789012").await;
    fixture.ready().await;
    let switch = format!("/api/v1/deploy/{}/switch", fixture.id());
    accepted(&tokens.with(Role::Approver).post(&api, &switch, &json!({})).await);
    let (github, aws) = fixture::connections(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop",
                      "branch": "main", "concurrency": "supersede"});
    tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await.problem(403, "NOT_ALLOWED");
    let view = db.db.deployment(fixture.id()).await.unwrap().unwrap();
    assert_eq!(view.superseded_by, None);
    accepted(&tokens.with(Role::Approver).post(&api, "/api/v1/deploy", &body).await);
}

#[tokio::test]
async fn roles__starter_recorded() {
    let db = TestDb::new().await;
    let (api, tokens) = (serve(&db.db).await, Tokens::of(&db).await);
    let (github, aws) = fixture::connections(&db.db).await;
    let body = json!({"githubConnectionId": github, "awsConnectionId": aws, "owner": "acme", "repo": "shop", "branch": "main"});
    accepted(&tokens.with(Role::Deployer).post(&api, "/api/v1/deploy", &body).await);
    let by: Option<String> =
        sqlx::query_scalar("SELECT started_by FROM deployments").fetch_one(&mut db.psql().await).await.unwrap();
    assert_eq!(by.as_deref(), Some("deployer-test"));
}
