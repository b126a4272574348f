//! A GitHub App, from its form to a connected repository, by clicking at Panda and at GitHub, which is another site.

use panda::domain::principal::Role;
use panda_testing::web_page::WebPage;
use serde_json::json;

use super::Installation;
use crate::http::auth::Token;
use crate::page::access::sign_in_at;

impl Installation {
    /// The address of the page that the server knows as its own.
    fn site(&self) -> String {
        format!("http://localhost:{}", self.api.address.port())
    }
}

async fn signed_in(installation: &Installation, page: &WebPage, token: &Token) {
    sign_in_at(page, &installation.site(), "/connections/github-apps", &token.secret).await;
}

#[tokio::test]
async fn start__github_app_created_installed_and_connected() {
    let installation = Installation::with(&["--auth=required"]).await;
    let (deployer, other) =
        (Token::of(&installation.db.db, Role::Deployer).await, Token::of(&installation.db.db, Role::Deployer).await);
    let page = WebPage::open().await;
    signed_in(&installation, &page, &deployer).await;
    page.expect_sound("no Apps").await;
    page.fill("#create-app [name=organization]", "acme").await;
    page.click("#create-app .primary").await;
    page.visible("#create").await;
    assert!(
        page.url()
            .await
            .starts_with(&format!("{}/organizations/acme/settings/apps/new?state=", installation.github.git_url()))
    );
    page.click("#create").await;
    // Back at Panda, which fetches the key by itself and leads to the installation.
    page.visible("#install").await;
    assert!(page.url().await.contains("/installations/new"));
    page.click("#install").await;
    page.until("location.hostname === 'localhost' && location.pathname.startsWith('/connections/github-apps/gha_')")
        .await;
    page.expect_sound("an installed App").await;
    assert_eq!(page.evaluate::<String>("document.querySelector('[name=owner]').value").await, "acme");
    page.fill("#connect-app [name=repo]", "shop").await;
    page.click("#connect-app .primary").await;
    page.visible("#connect-app .done").await;
    page.goto(&format!("{}/connections", installation.site())).await;
    assert!(page.text("#github .entry").await.contains("acme/shop"));
    page.goto(&format!("{}/connections/github-apps", installation.site())).await;
    page.expect_fit("start-github-apps").await;
    assert_eq!(installation.github.created_apps()[0].exchanges, 1);

    // Only this view may post to GitHub.
    let policy = async |path: &str| {
        let request = installation.api.signed_in(&deployer.secret).request(reqwest::Method::GET, path);
        let answer = request.send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        policy.split("; ").find(|rule| rule.starts_with("form-action")).unwrap().to_owned()
    };
    let posting = format!("form-action 'self' {}", installation.github.git_url());
    assert_eq!(policy("/connections/github-apps").await, posting);
    for view in ["/connections", "/connections/github-apps/callback?code=x&state=y", "/connections/github-apps/none"] {
        assert_eq!(policy(view).await, "form-action 'self'", "{view}");
    }

    // What one caller began, another one cannot finish: a link to the callback in their browser creates nothing.
    let begun = installation.api.signed_in(&deployer.secret).post("/api/v1/github-apps", &json!({})).await.json();
    let returned = crate::http::github_apps::create_at(&installation.github, &begun["data"]).await;
    page.call(json!(["clear_cookies"])).await;
    signed_in(&installation, &page, &other).await;
    let (code, state) = (returned["code"].as_str().unwrap(), returned["state"].as_str().unwrap());
    page.goto(&format!("{}/connections/github-apps/callback?code={code}&state={state}", installation.site())).await;
    page.visible(".problem").await;
    assert!(page.text(".problem").await.contains("this sign-in has begun no App"));
    assert_eq!(page.evaluate::<String>("location.search").await, "", "the code has left the address");
    assert_eq!(installation.github.created_apps()[1].exchanges, 0);
}

#[tokio::test]
async fn start__github_app_needs_the_address_of_the_page() {
    let db = crate::support::db::TestDb::new().await;
    let api = crate::http::Api::serve(&db.db).await;
    let view = api.get("/connections/github-apps").await;
    assert!(view.text.contains("PANDA_PUBLIC_URL") && !view.text.contains("app-manifest id"), "{}", view.text);
    assert!(view.header("content-security-policy").contains("form-action 'self';"));
}
