//! The form of a deployment.

use serde_json::json;

use super::{Installation, browser, problem_at};

#[tokio::test]
async fn deploy_form__shows_each_problem_at_its_field() {
    let installation = Installation::empty().await;
    let (github, _) = installation.connect().await;
    let secret = format!("/api/v1/connect/github/{github}/secrets/npm_token");
    installation.api.put(&secret, &json!({"value": "npm_0123456789"})).await;
    let page = browser().await;
    page.goto(&installation.url("/new")).await;
    page.visible(".check-summary").await;

    for select in ["githubConnectionId", "awsConnectionId"] {
        let chosen = page.evaluate::<String>(&format!("document.querySelector('[name={select}]').value")).await;
        page.select(&format!("[name={select}]"), "").await;
        page.click("[data-start]").await;
        assert!(problem_at(&page, &format!("[name={select}]")).await.contains("missing"));
        page.select(&format!("[name={select}]"), &chosen).await;
    }
    for (source, value) in [("branch", "a..b"), ("commit", "9fceb02"), ("tag", "v 1"), ("image", "latest")] {
        page.call(json!(["check", format!("[data-choice][value={source}]")])).await;
        page.fill(&format!("[name={source}]"), value).await;
        page.click("[data-start]").await;
        let text = problem_at(&page, &format!("[name={source}]")).await;
        assert!(!text.starts_with(source) && !text.is_empty(), "{text}");
        assert_eq!(page.count("[aria-invalid=true]").await, 1, "{source}");
    }
    page.call(json!(["check", "[data-choice][value=branch]"])).await;
    page.fill("[name=branch]", "main").await;
    page.click("deploy-form details > summary").await;
    for (option, value) in
        [("dockerfile", "../Dockerfile"), ("context", "/etc"), ("target", "-"), ("platform", "arm"), ("args", "1=x")]
    {
        let field = format!("[name=\"build.{option}\"]");
        page.fill(&field, value).await;
        // A folded field is opened at its problem.
        page.evaluate::<()>("void (document.querySelector('deploy-form details').open = false)").await;
        page.click("[data-start]").await;
        problem_at(&page, &field).await;
        page.visible(&field).await;
        page.fill(&field, "").await;
    }
    page.expect_axe("a problem at its field").await;
    page.screenshot("start-problem").await;
    page.call(json!(["check", "[value=npm_token]"])).await;
    assert_eq!(installation.api.delete(&secret).await.status, 200);
    page.click("[data-start]").await;
    page.visible("fieldset[data-secrets-of][aria-invalid=true]").await;
    assert!(installation.deployments().await.is_empty());
}

#[tokio::test]
async fn deploy_form__starts_one_deployment_and_offers_the_queue() {
    let installation = Installation::empty().await;
    let (github, aws) = installation.connect().await;
    let page = browser().await;
    page.goto(&installation.url(&format!("/new?github={github}&aws={aws}"))).await;
    page.visible(".check-summary").await;
    page.call(json!(["check", "[data-choice][value=tag]"])).await;
    page.fill("[name=tag]", "v1.2.0").await;
    page.select("[name=kind]", "hotfix").await;
    page.click("deploy-form details > summary").await;
    page.fill("[name=\"build.args\"]", "VERSION=1=2\nEMPTY=").await;
    page.fill("[name=labels]", "tier=1\nteam=payments").await;
    page.call(json!(["dblclick", "[data-start]"])).await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
    let first = installation.deployments().await;
    assert_eq!(first.len(), 1, "a double click started two");

    // The earlier request, repeated.
    page.goto(&installation.url(&format!("/new?from={}", first[0]))).await;
    let value =
        async |name: &str| page.evaluate::<String>(&format!("document.querySelector('[name=\"{name}\"]').value")).await;
    assert_eq!((value("tag").await.as_str(), value("kind").await.as_str()), ("v1.2.0", "hotfix"));
    assert_eq!(value("build.args").await, "EMPTY=\nVERSION=1=2");
    assert_eq!(value("labels").await, "team=payments\ntier=1");
    page.click("[data-start]").await;
    page.visible(".problem [data-concurrency=queue]").await;
    page.expect_axe("a taken target").await;
    page.screenshot("start-conflict").await;
    page.click(".problem [data-concurrency=queue]").await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
    assert_eq!(installation.deployments().await.len(), 2);

    page.goto(&installation.url("/new?from=dep_unknown")).await;
    assert!(page.text("main").await.contains("DEPLOYMENT_NOT_FOUND"));
}

#[tokio::test]
async fn deploy_form__names_what_is_missing() {
    let installation = Installation::empty().await;
    installation.connect().await;
    let page = browser().await;
    page.goto(&installation.url("/new")).await;
    // This sandbox has no event bus.
    page.visible(".check-summary .check-missing").await;
    let button = page.text("[data-start]").await;
    assert!(button.contains("missing:"), "{button}");
    assert!(
        page.evaluate::<String>("document.querySelector('[data-start]').form.dataset.confirm")
            .await
            .contains("missing")
    );
    // Nothing is blocked: the browser of this test confirms.
    page.click("[data-start]").await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
}
