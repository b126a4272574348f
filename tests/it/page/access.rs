//! Sign-in, sessions that end, roles, tokens and the audit in a browser.

use panda::commands::tokens::revoke_token;
use panda::domain::principal::{Caller, Role};
use panda_testing::oidc_issuer::{Issuer, Key};
use panda_testing::oidc_sign_in::SignInClient;
use panda_testing::web_page::{Display, WebPage};
use serde_json::{Value, json};

use crate::http::auth::{Token, serve};
use crate::http::fixture::Fixture;
use crate::http::{Api, ExternalServices};
use crate::support::db::TestDb;

/// Signs in at `path`, which leads to the form.
pub async fn sign_in(page: &WebPage, api: &Api, path: &str, token: &str) {
    sign_in_at(page, &format!("http://{}", api.address), path, token).await;
}

/// The same at another address of the server.
pub async fn sign_in_at(page: &WebPage, base: &str, path: &str, token: &str) {
    page.goto(&format!("{base}{path}")).await;
    page.fill("input[name=token]", token).await;
    page.click(".sign-in form button").await;
    page.until(&format!("location.pathname + location.search === {}", json!(path))).await;
}

#[tokio::test]
async fn access__token_opens_a_session_without_scripts_too() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let token = Token::of(&db.db, Role::Deployer).await;
    let page = WebPage::open().await;
    for scripts in [true, false] {
        page.profile(Display { scripts, ..Display::default() }).await;
        page.goto(&format!("http://{}/?q=shop", api.address)).await;
        page.until("location.pathname === '/sign-in'").await;
        if scripts {
            page.expect_sound("sign-in").await;
        }
        page.fill("input[name=token]", &format!("panda_{:064x}", 7)).await;
        page.click(".sign-in form button").await;
        assert!(page.text(".problem").await.contains("unknown, expired or revoked"));
        page.fill("input[name=token]", &token.secret).await;
        page.click(".sign-in form button").await;
        page.until("location.pathname === '/' && location.search === '?q=shop'").await;
        assert_eq!(page.text(".who").await, "deployer-test");
        page.click("form[action='/sign-out'] button").await;
        page.until("location.pathname === '/sign-in'").await;
        page.goto(&format!("http://{}/", api.address)).await;
        page.until("location.pathname === '/sign-in'").await;
    }
}

#[tokio::test]
async fn access__each_role_sees_the_list_and_its_own_views() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let mut _running = Fixture::begin(&db.db).await;
    let page = WebPage::open().await;
    for role in [Role::Viewer, Role::Deployer, Role::Approver, Role::Admin] {
        page.profile(Display::default()).await;
        sign_in(&page, &api, "/", &Token::of(&db.db, role).await.secret).await;
        assert_eq!(page.count(".row").await, 1, "{role}");
        let admin_views = page.count("nav a[href='/audit'], nav a[href='/tokens']").await;
        assert_eq!(admin_views, if role == Role::Admin { 2 } else { 0 }, "{role}");
        assert!(page.attribute(".who", "title").await.unwrap().contains(role.as_str()));
        page.expect_sound(role.as_str()).await;
        for path in ["/tokens", "/audit"] {
            page.goto(&format!("http://{}{path}", api.address)).await;
            let text = page.text("main").await;
            assert_eq!(
                text.contains("Needs the role") || text.contains("needs the role admin"),
                role != Role::Admin,
                "{role}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn access__ended_session_keeps_input_and_continues_after_sign_in() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (first, second) = (Token::of(&db.db, Role::Admin).await, Token::of(&db.db, Role::Admin).await);
    let page = WebPage::open().await;
    sign_in(&page, &api, "/tokens", &first.secret).await;
    page.click("details.panel > summary").await;
    page.fill("input[name=name]", "ci-shop").await;
    page.fill("textarea[name=repositories]", "acme/shop toys/*").await;
    revoke_token(&db.db, &first.id, &Caller::local()).await.unwrap();
    // The stream of the view ends with 401, which the view notices by itself.
    page.visible("dialog.session").await;
    page.call(json!(["follow_popup", "dialog.session a"])).await;
    page.fill("input[name=token]", &second.secret).await;
    page.click(".sign-in form button").await;
    page.call(json!(["back"])).await;
    page.gone("dialog.session").await;
    assert_eq!(
        page.evaluate::<String>("document.querySelector('textarea[name=repositories]').value").await,
        "acme/shop toys/*"
    );
    page.click("details.panel form button").await;
    page.visible("dialog.secret").await;
    let secret = page.text("dialog.secret output").await;
    assert!(secret.starts_with("panda_") && secret.len() == 70);
    page.screenshot("access-secret").await;
    assert_eq!(api.signed_in(&secret).get("/api/v1/deploy").await.status, 200);
    page.click("dialog.secret [data-close]").await;
    page.until("document.querySelector('dialog.secret output').textContent === ''").await;
    assert!(page.text(".row").await.contains("acme/shop, toys/*"));
    // An action with an ended session.
    page.call(json!(["clear_cookies"])).await;
    page.call(json!(["accept_dialogs"])).await;
    page.click(".row form button").await;
    page.visible("dialog.session").await;
    // A view.
    page.goto(&format!("http://{}/audit?subject=x", api.address)).await;
    page.until("location.pathname === '/sign-in' && location.search === '?next=%2Faudit%3Fsubject%3Dx'").await;
}

#[tokio::test]
async fn access__tokens_are_created_and_revoked() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let page = WebPage::open().await;
    sign_in(&page, &api, "/tokens", &Token::of(&db.db, Role::Admin).await.secret).await;
    page.call(json!(["accept_dialogs"])).await;
    page.click("details.panel > summary").await;
    page.expect_sound("new token").await;
    page.fill("input[name=name]", "a b").await;
    page.click("details.panel form button").await;
    assert!(page.text(".problem").await.contains("without spaces"));
    page.fill("input[name=name]", "ci-shop").await;
    page.click("input[value=deployer]").await;
    page.click("details.panel form button").await;
    page.visible("dialog.secret").await;
    page.click("dialog.secret [data-close]").await;
    page.visible(".row:has-text('ci-shop') .badge.valid").await;
    page.click(".row:has-text('ci-shop') form button").await;
    page.visible(".row:has-text('ci-shop') .badge.revoked").await;
}

#[tokio::test]
async fn access__audit_filters_and_shows_hostile_text() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let (admin, viewer) = (Token::of(&db.db, Role::Admin).await, Token::of(&db.db, Role::Viewer).await);
    viewer.post(&api, "/api/v1/tokens", &json!({"name": "x", "role": "admin"})).await.problem(403, "NOT_ALLOWED");
    sqlx::query("INSERT INTO audit (subject, kind, role, action, result, details) VALUES ('<img src=x>' || U&'\\202E' || 'evil', 'oidc', 'viewer', 'deploy', 'done', '{}')")
        .execute(&mut db.psql().await)
        .await
        .unwrap();
    let page = WebPage::open().await;
    sign_in(&page, &api, "/audit", &admin.secret).await;
    assert!(page.text("main").await.contains("<img src=x><U+202E>evil"));
    assert!(page.text(".row:has(.badge.refused)").await.contains("NOT_ALLOWED"));
    page.expect_sound("audit").await;
    page.select("select[name=action]", "token.create").await;
    page.click(".filters button").await;
    page.until("location.search.includes('action=token.create')").await;
    assert_eq!(page.count(".row .badge.refused").await, 1);
    page.goto(&format!("http://{}/audit?since=2001-01-01&until=2001-01-02", api.address)).await;
    assert_eq!(page.count(".row").await, 0);
    page.goto(&format!("http://{}/audit?since=x", api.address)).await;
    assert!(page.text("main").await.contains("since"));
}

/// Panda at `localhost` and the issuer at `127.0.0.1` are different sites.
#[tokio::test]
async fn access__issuer_signs_in_across_sites() {
    let db = TestDb::new().await;
    let key = Key::ec("k");
    let issuer = Issuer::start(&[&key]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.json");
    let mut file = issuer.file();
    file[0]["signIn"] = json!({"clientId": "panda-page", "name": "Acme"});
    std::fs::write(&path, file.to_string()).unwrap();
    let flag = format!("--oidc-file={}", path.display());
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[&flag]).await;
    let base = format!("http://localhost:{}", api.address.port());
    let redirect_uris = vec![format!("{base}/sign-in/callback")];
    let claims = json!({"sub": "alice", "groups": ["platform"]});
    let (client_id, secret, error) = ("panda-page", None, None);
    let sign = Box::new(move |claims: &Value| key.sign(claims));
    issuer.sign_ins.register(SignInClient { client_id, secret, redirect_uris, sign, claims, error });
    let page = WebPage::open().await;
    page.goto(&format!("{base}/tokens")).await;
    page.expect_sound("sign-in with an issuer").await;
    page.click(".issuers a").await;
    page.until("location.pathname === '/tokens'").await;
    assert!(page.text(".who").await.ends_with("|alice"));
    // A link of another site leads to the view, although the browser sends no cookie with the first request.
    page.goto(&format!("http://{}/keys", issuer.address)).await;
    page.evaluate::<Value>(&format!("void setTimeout(() => location.assign({}))", json!(format!("{base}/audit"))))
        .await;
    page.until("location.pathname === '/audit' && document.querySelector('.filters') !== null").await;
    issuer.sign_ins.update(|client| client.error = Some("access_denied"));
    page.click("form[action='/sign-out'] button").await;
    page.click(".issuers a").await;
    assert!(page.text(".problem").await.contains("denied access"));
}

#[tokio::test]
async fn access__screenshots() {
    let db = TestDb::new().await;
    let api = serve(&db.db).await;
    let admin = Token::of(&db.db, Role::Admin).await;
    Token::scoped(&db.db, Role::Deployer, &["acme/shop", "acme/toys"]).await;
    Token::make(
        &db.db,
        Role::Viewer,
        panda::domain::principal::Scope::All,
        Some(chrono::Utc::now() + chrono::TimeDelta::days(30)),
    )
    .await;
    let old = Token::of(&db.db, Role::Approver).await;
    revoke_token(&db.db, &old.id, &Caller::operator("root@host".to_owned())).await.unwrap();
    old.post(&api, "/api/v1/deploy", &json!({})).await;
    let viewer = Token::of(&db.db, Role::Viewer).await;
    viewer.post(&api, "/api/v1/tokens", &json!({"name": "x", "role": "admin"})).await;
    let page = WebPage::open().await;
    for (width, height, dark, locale) in [
        (360, 740, false, "ko-KR"),
        (360, 740, true, "en-US"),
        (768, 1024, false, "en-US"),
        (1440, 900, false, "ko-KR"),
        (1440, 900, true, "en-US"),
    ] {
        page.profile(Display { locale, dark, size: (width, height), scripts: true }).await;
        let name = |view: &str| format!("access-{view}-{width}-{}", if dark { "dark" } else { "light" });
        page.goto(&format!("http://{}/sign-in", api.address)).await;
        page.screenshot(&name("sign-in")).await;
        sign_in(&page, &api, "/tokens", &admin.secret).await;
        page.screenshot(&name("tokens")).await;
        page.click("details.panel > summary").await;
        page.screenshot(&name("new-token")).await;
        page.expect_sound(&name("tokens")).await;
        page.goto(&format!("http://{}/audit", api.address)).await;
        page.screenshot(&name("audit")).await;
        page.expect_sound(&name("audit")).await;
        page.call(json!(["clear_cookies"])).await;
        page.goto(&format!("http://{}/sign-in", api.address)).await;
        page.fill("input[name=token]", "panda_wrong").await;
        page.click(".sign-in form button").await;
        page.visible(".problem").await;
        page.screenshot(&name("sign-in-refused")).await;
    }
}
