//! What each role may do.

use panda::domain::principal::Role;
use panda_testing::web_page::{Display, WebPage};
use serde_json::json;

use super::Installation;
use crate::http::auth::Token;

#[tokio::test]
async fn start__viewer_sees_disabled_actions_with_their_reason() {
    let installation = Installation::with(&["--auth=required"]).await;
    let admin = Token::of(&installation.db.db, Role::Admin).await;
    let signed_in = installation.api.signed_in(&admin.secret);
    let github =
        json!({"owner": "acme", "repo": "shop", "branch": "main", "token": crate::http::external_services::TOKEN});
    let github = signed_in.post("/api/v1/connect/github", &github).await.json();
    let aws = signed_in.post("/api/v1/connect/aws", &installation.keys()).await.json();
    let schedule = json!({"cron": "@daily", "deploy": {
        "githubConnectionId": github["data"]["githubConnectionId"], "awsConnectionId": aws["data"]["awsConnectionId"],
        "owner": "acme", "repo": "shop", "branch": "main",
    }});
    let schedule = signed_in.post("/api/v1/schedules", &schedule).await.json();
    let schedule = format!("/schedules/{}", schedule["data"]["scheduleId"].as_str().unwrap());

    let viewer = Token::of(&installation.db.db, Role::Viewer).await;
    let page = WebPage::open().await;
    sign_in(&page, &viewer).await;
    for view in ["/connections", "/new", "/schedules", &schedule] {
        page.goto(&installation.url(view)).await;
        assert_eq!(page.text(".locked").await, "Needs the role deployer", "{view}");
        let enabled = "[...document.querySelectorAll('main :is(button, input, select, textarea)')].filter((field) => !field.matches(':disabled')).length";
        assert_eq!(page.evaluate::<u32>(enabled).await, 0, "{view}");
        assert!(page.count("main button:disabled").await > 0, "{view}");
        page.expect_sound(view).await;
    }
    page.screenshot("start-viewer").await;
    let deployer = Token::of(&installation.db.db, Role::Deployer).await;
    sign_in(&page, &deployer).await;
    page.goto(&installation.url(&schedule)).await;
    assert_eq!(page.count(".locked").await, 0);
    page.visible("#run button:enabled").await;
}

/// Sends the token with every request of a new profile.
async fn sign_in(page: &WebPage, token: &Token) {
    page.profile(Display::default()).await;
    page.call(json!(["headers", {"authorization": format!("Bearer {}", token.secret)}])).await;
}
