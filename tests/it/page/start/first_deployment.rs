//! From an empty installation to a running deployment, by clicking.

use panda_testing::web_page::WebPage;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Installation, browser, problem_at};
use crate::support::environment::{Environment, OWNER, TOKEN, tiny};
use crate::support::panda::Panda;

const SECRETS: &str = "[...document.querySelectorAll('input[type=password]')].every((field) => field.value === '')";

#[tokio::test]
async fn start__from_empty_installation_to_running_deployment() {
    let env = Environment::with_files(tiny()).await;
    let server = Panda::builder().environment(&env).server().await;
    let page = browser().await;
    page.goto(&format!("{}/connections", server.base)).await;
    assert!(page.text("main").await.contains("No GitHub repository is connected."));
    page.expect_sound("no connections").await;
    connect_github(&page, &env).await;
    connect_aws(&page, &env).await;
    page.expect_sound("connections").await;

    let check = "[id^=check-]";
    page.click(&format!("{check} summary")).await;
    page.click(&format!("{check} [data-run]")).await;
    page.visible("table.check").await;
    assert!(page.text(".check-summary").await.contains("would be created"));
    page.expect_sound("check of a connection").await;
    page.screenshot("start-connections").await;

    page.click(".heading .primary").await;
    // Both connections are the only ones, so they are chosen, and checked without a click.
    page.visible(".check-summary .check-ready").await;
    assert_eq!(page.text("[data-start]").await, "Start the deployment");
    page.fill("[name=reason]", "first deployment").await;
    page.expect_sound("new deployment").await;
    page.screenshot("start-new").await;
    page.click("[data-start]").await;
    page.until("location.pathname.startsWith('/deployments/dep_')").await;
    let id = page.url().await.rsplit('/').next().unwrap().to_owned();
    let (_, list) = server.get("/deploy").await;
    let deployment = &list["data"]["deployments"][0];
    assert_eq!(
        (deployment["deploymentId"].as_str(), deployment["status"].as_str()),
        (Some(id.as_str()), Some("RUNNING"))
    );
    assert_eq!(deployment["requested"]["reason"], "first deployment");
    server.command(&id, "cancel").await;
    server.stop().await;
}

async fn connect_github(page: &WebPage, env: &Environment) {
    let form = "#add-github";
    page.click(&format!("{form} .primary")).await;
    assert!(problem_at(page, &format!("{form} [name=owner]")).await.starts_with("is missing"));
    page.fill(&format!("{form} [name=owner]"), OWNER).await;
    page.fill(&format!("{form} [name=repo]"), &env.repo).await;
    page.fill(&format!("{form} [name=token]"), "ghp_wrong").await;
    page.click(&format!("{form} .primary")).await;
    page.visible(&format!("{form} [name=token][aria-invalid=true]")).await;
    assert!(page.text(&format!("{form} .problem")).await.contains("token"));
    page.fill(&format!("{form} [name=token]"), TOKEN).await;
    page.click(&format!("{form} .primary")).await;
    page.visible("#github .entry").await;
    page.visible(&format!("{form} .done")).await;
    assert!(page.evaluate::<bool>(SECRETS).await);
}

async fn connect_aws(page: &WebPage, env: &Environment) {
    let (form, keys) = ("#add-aws", env.sandbox.user_credentials());
    page.fill(&format!("{form} [name=region]"), "nowhere").await;
    page.click(&format!("{form} .primary")).await;
    problem_at(page, &format!("{form} [name=region]")).await;
    page.fill(&format!("{form} [name=region]"), env.sandbox.region()).await;
    page.fill(&format!("{form} [name=accessKeyId]"), "AKIA0000000000000000").await;
    page.fill(&format!("{form} [name=secretAccessKey]"), keys.secret_access_key.expose_secret()).await;
    page.click(&format!("{form} .primary")).await;
    problem_at(page, &format!("{form} [name=accessKeyId]")).await;
    page.fill(&format!("{form} [name=accessKeyId]"), &keys.access_key_id).await;
    page.click(&format!("{form} .primary")).await;
    page.visible("#aws .entry").await;
    page.visible(&format!("{form} .done")).await;
    assert!(page.evaluate::<bool>(SECRETS).await);
}

#[tokio::test]
async fn start__role_connected_with_shown_trust_policy() {
    let installation = Installation::empty().await;
    let page = browser().await;
    page.goto(&installation.url("/connections")).await;
    let role = format!("arn:aws:iam::{}:role/panda", installation.sandbox.user_account_id());
    page.fill("#add-aws [name=region]", installation.sandbox.region()).await;
    page.fill("#add-aws [name=accessKeyId]", "AKIA0000000000000000").await;
    page.call(json!(["check", "#add-aws [value=role]"])).await;
    page.fill("#add-aws [name=roleArn]", &role).await;
    page.click("#add-aws .primary").await;
    problem_at(&page, "#add-aws [name=roleArn]").await;
    let policy = page.text("#add-aws .problem pre").await;
    page.expect_axe("a role that does not trust Panda").await;
    page.screenshot("start-trust-policy").await;
    installation.sandbox.put_role(&role, &serde_json::from_str(&policy).unwrap());
    page.click("#add-aws .primary").await;
    page.visible("#aws .entry").await;
    assert!(page.text("#aws .entry").await.contains(&role));

    // Renewing checks the trust policy again.
    page.click("#aws [id^=renew-aws] summary").await;
    page.click("#aws [id^=renew-aws] button").await;
    page.visible("#aws .done").await;
    page.click("#aws .danger").await;
    page.gone("#aws .entry").await;
}

#[tokio::test]
async fn start__build_secrets_and_renewal_of_a_repository() {
    let installation = Installation::empty().await;
    let (github, _) = installation.connect().await;
    let page = browser().await;
    page.goto(&installation.url("/connections")).await;
    let secrets = format!("#secrets-{github}");
    page.click(&format!("{secrets} > summary")).await;
    let save = format!("#set-secret-{github} button");
    page.fill(&format!("{secrets} [name=name]"), "../npm").await;
    page.fill(&format!("{secrets} [name=value]"), "npm_0123456789").await;
    page.click(&save).await;
    problem_at(&page, &format!("{secrets} [name=name]")).await;
    page.fill(&format!("{secrets} [name=name]"), "npm_token").await;
    page.fill(&format!("{secrets} [name=value]"), "short").await;
    page.click(&save).await;
    problem_at(&page, &format!("{secrets} [name=value]")).await;
    page.fill(&format!("{secrets} [name=value]"), "npm_0123456789").await;
    page.click(&save).await;
    page.visible(&format!("#secret-{github}-npm_token")).await;
    assert!(page.evaluate::<bool>(SECRETS).await);
    let html: String = page.evaluate("document.documentElement.outerHTML").await;
    assert!(!html.contains("npm_0123456789"), "a secret is in the page");
    page.click(&format!("#secret-{github}-npm_token button")).await;
    page.gone(&format!("#secret-{github}-npm_token")).await;

    let renewal = format!("#renew-{github}");
    page.click(&format!("{renewal} summary")).await;
    page.fill(&format!("{renewal} [name=token]"), "ghp_wrong").await;
    page.click(&format!("{renewal} button")).await;
    problem_at(&page, &format!("{renewal} [name=token]")).await;
    page.fill(&format!("{renewal} [name=token]"), crate::http::external_services::TOKEN).await;
    page.click(&format!("{renewal} button")).await;
    page.visible(&format!("{renewal} .done")).await;
    page.expect_axe("an opened repository").await;
}
