//! Sign-in of the web page with an issuer: authorization code with PKCE, over real sockets, with a client that keeps cookies as a browser does.

use std::sync::atomic::Ordering;

use panda::domain::principal::Role;
use panda_testing::oidc_sign_in::SignInClient;
use pretty_assertions::assert_eq;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use super::auth::Token;
use super::oidc::{Issuer, Key};
use super::{Answer, Api, ExternalServices, count};
use crate::support::db::TestDb;
use crate::support::wait_for;

const CLIENT: &str = "panda-page";

/// Two replicas that sign in with one issuer, whose users are platform admins.
struct Installation {
    db: TestDb,
    issuer: Issuer,
    api: Api,
    replica: Api,
    folder: tempfile::TempDir,
}

impl Installation {
    async fn start(sign_in: &Value, more: &[&str]) -> Self {
        let db = TestDb::new().await;
        let key = Key::ec("k");
        let issuer = Issuer::start(&[&key]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuers.json");
        let mut file = issuer.file();
        file[0]["signIn"] = sign_in.clone();
        std::fs::write(&path, file.to_string()).unwrap();
        let flag = format!("--oidc-file={}", path.display());
        let flags = [&[flag.as_str()][..], more].concat();
        let serve = async || Api::serve_with(&db.db, &ExternalServices::default(), &flags).await;
        let (api, replica) = (serve().await, serve().await);
        let redirect_uris = [&api, &replica].map(|api| format!("http://{}/sign-in/callback", api.address)).to_vec();
        let claims = json!({"sub": "alice", "groups": ["platform"], "repository": null});
        let (secret, error, sign) = (None, None, Box::new(move |claims: &Value| key.sign(claims)));
        issuer.sign_ins.register(SignInClient { client_id: CLIENT, secret, redirect_uris, sign, claims, error });
        Self { db, issuer, api, replica, folder }
    }
}

async fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = headers
        .iter()
        .fold(client.get(url).header("accept-language", "en"), |request, (name, value)| request.header(*name, *value));
    Answer::of(request.send().await.unwrap()).await
}

fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let pair = lines.filter_map(|line| line.split(';').next()).find(|pair| pair.starts_with(&format!("{name}=")));
    pair.map(str::to_owned)
}

/// Begins a sign-in at `api`: the address to which the issuer returns, and the cookie.
async fn begin(api: &Api, next: &str) -> (String, String) {
    let begun = get(&format!("http://{}/sign-in/issuer?use=0&next={next}", api.address), &[]).await;
    assert_eq!(begun.status, 303, "{}", begun.text);
    let set = begun.header("set-cookie");
    assert!(set.contains("; HttpOnly; SameSite=Lax") && set.contains("; Max-Age=600;"), "{set}");
    let returned = get(begun.header("location"), &[]).await;
    assert_eq!(returned.status, 303, "{}", returned.text);
    (returned.header("location").to_owned(), cookie(&begun, "panda_sign_in").unwrap())
}

async fn finish(url: &str, cookie: &str) -> Answer {
    let answer = get(url, &[("cookie", cookie)]).await;
    assert!(
        answer.headers.get_all("set-cookie").iter().any(|line| line.to_str().unwrap().starts_with("panda_sign_in=; "))
    );
    answer
}

fn expect_problem(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(answer.text.contains(text), "{text}: {}", answer.text);
    assert_eq!(cookie(answer, "panda_session"), None);
}

#[tokio::test]
async fn oidc_sign_in__opens_a_session_with_the_role_of_the_rules() {
    let it = Installation::start(&json!({"clientId": CLIENT, "scopes": ["groups"], "name": "Acme"}), &[]).await;
    let form = get(&format!("http://{}/sign-in?next=/history", it.api.address), &[]).await;
    assert!(
        form.text.contains("Sign in with Acme") && form.text.contains("use=0&amp;next=%2Fhistory"),
        "{}",
        form.text
    );
    let (url, pending) = begin(&it.api, "/history").await;
    let answer = finish(&url, &pending).await;
    assert_eq!((answer.status, answer.header("refresh")), (200, "0; url=/history"), "{}", answer.text);
    let session = cookie(&answer, "panda_session").unwrap();
    let ask = async |api: &Api, method: Method, path: &str| {
        let request = api.request(method, path).header("cookie", &session).header("sec-fetch-site", "same-origin");
        Answer::of(request.send().await.unwrap()).await
    };
    for api in [&it.api, &it.replica] {
        assert_eq!(ask(api, Method::GET, "/api/v1/tokens").await.status, 200, "an admin of all repositories");
    }
    // The audit names the subject as with a bearer token.
    let subject = format!("{}/realm|alice", it.issuer.address);
    let opened: Vec<(String, String)> = sqlx::query_as("SELECT subject, kind FROM audit WHERE action = 'session.open'")
        .fetch_all(&mut it.db.psql().await)
        .await
        .unwrap();
    assert_eq!(opened, [(subject, "oidc".to_owned())]);
    // Addresses and forms have no secret beyond the code and the verifier, which the hash in the address hides.
    let exchange = &it.issuer.sign_ins.exchanges()[0];
    assert_eq!(exchange["redirect_uri"], format!("http://{}/sign-in/callback", it.api.address));
    assert!(!url.contains(&exchange["code_verifier"]));
    // Revoking the subject ends the session on every replica.
    let admin = Token::of(&it.db.db, Role::Admin).await;
    let body = json!({"issuer": it.issuer.name(), "subject": "alice"});
    assert_eq!(admin.post(&it.api, "/api/v1/revocations", &body).await.status, 200);
    wait_for("the session ends", async || ask(&it.replica, Method::GET, "/api/v1/tokens").await.status == 401).await;
    let (url, pending) = begin(&it.api, "/").await;
    expect_problem(&finish(&url, &pending).await, 401, "its subject was revoked");
}

#[tokio::test]
async fn oidc_sign_in__finishes_at_another_replica_only_in_the_same_browser() {
    let it = Installation::start(
        &json!({"clientId": CLIENT}),
        &["--trusted-proxies=127.0.0.0/8", "--base-path=/tools/panda"],
    )
    .await;
    it.issuer
        .sign_ins
        .update(|client| client.redirect_uris = vec!["https://panda.example/tools/panda/sign-in/callback".to_owned()]);
    let headers = [("x-forwarded-host", "panda.example"), ("x-forwarded-proto", "https")];
    let begun = get(&format!("http://{}/tools/panda/sign-in/issuer?use=0&next=/x", it.api.address), &headers).await;
    let pending = cookie(&begun, "panda_sign_in").unwrap();
    assert!(begun.header("set-cookie").contains("; Secure"));
    let returned = get(begun.header("location"), &[]).await;
    let mut url: Url = returned.header("location").parse().unwrap();
    assert_eq!((url.host_str(), url.path()), (Some("panda.example"), "/tools/panda/sign-in/callback"));
    url.set_scheme("http").unwrap();
    url.set_ip_host(it.replica.address.ip()).unwrap();
    url.set_port(Some(it.replica.address.port())).unwrap();
    let with = |cookie: &str| [headers.to_vec(), vec![("cookie", cookie.to_owned().leak() as &str)]].concat();
    for other in [
        "",
        "a=b",
        &cookie(&get(&format!("http://{}/sign-in/issuer?use=0", it.api.address), &headers).await, "panda_sign_in")
            .unwrap(),
    ] {
        let answer = get(url.as_str(), &with(other)).await;
        expect_problem(&answer, 400, "was not begun in this browser");
    }
    assert!(it.issuer.sign_ins.exchanges().is_empty(), "the code stays unused");
    let answer = get(url.as_str(), &with(&pending)).await;
    assert_eq!((answer.status, answer.header("refresh")), (200, "0; url=/tools/panda/x"), "{}", answer.text);
    assert!(cookie(&answer, "panda_session").is_some());
    // The same code again: the issuer refuses it.
    expect_problem(&get(url.as_str(), &with(&pending)).await, 400, "invalid_grant");
    assert_eq!(count(&it.db, "sessions").await, 1);
}

#[tokio::test]
async fn oidc_sign_in__each_failure_is_explained() {
    let it = Installation::start(&json!({"clientId": CLIENT}), &[]).await;
    let try_with = async |claims: Value| {
        it.issuer.sign_ins.update(|client| client.claims = claims);
        let (url, pending) = begin(&it.api, "/").await;
        finish(&url, &pending).await
    };
    let now = chrono::Utc::now().timestamp();
    let user = |changes: Value| {
        let mut claims = json!({"sub": "alice", "groups": ["platform"]});
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    for (claims, text) in [
        (user(json!({"nonce": "other"})), "issued for another sign-in"),
        (user(json!({"nonce": null})), "issued for another sign-in"),
        (user(json!({"aud": "panda"})), "for another audience"),
        (user(json!({"aud": [CLIENT, "other"], "azp": "other"})), "for another audience"),
        (user(json!({"iss": "https://evil.example"})), "its issuer is another one"),
        (user(json!({"exp": now - 60})), "it has expired"),
        (user(json!({"groups": ["guests"], "ref": "x"})), "no rule of the server matches"),
    ] {
        expect_problem(&try_with(claims).await, 401, text);
    }
    assert_eq!(try_with(user(json!({}))).await.status, 200);
    // Errors of the issuer.
    for (error, text) in [
        ("access_denied", "denied access"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("<b>\u{202e}x", "&#60;b&#62;&#60;U+202E&#62;x"),
    ] {
        it.issuer.sign_ins.update(|client| client.error = Some(error));
        let (url, pending) = begin(&it.api, "/").await;
        expect_problem(&finish(&url, &pending).await, 400, text);
    }
    it.issuer.sign_ins.update(|client| client.error = None);
    // A forged or missing state, and an answer of another issuer.
    let (url, pending) = begin(&it.api, "/").await;
    for (name, value) in [
        ("state", Some("x".repeat(43))),
        ("state", None),
        ("code", None),
        ("iss", Some("https://other.example".to_owned())),
    ] {
        let mut changed: Url = url.parse().unwrap();
        let pairs: Vec<(String, String)> =
            changed.query_pairs().into_owned().filter(|(found, _)| found != name).collect();
        changed.query_pairs_mut().clear().extend_pairs(pairs).extend_pairs(value.map(|value| (name, value)));
        expect_problem(&finish(changed.as_str(), &pending).await, 400, "was not begun in this browser");
    }
    // The client's secret is wrong: the operator's mistake, not the user's.
    it.issuer.sign_ins.update(|client| client.secret = Some("s3cr3t"));
    expect_problem(&try_with(user(json!({}))).await, 400, "invalid_client");
    let unknown = it.api.get("/sign-in/issuer?use=7").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn oidc_sign_in__sends_the_secret_of_its_file_and_follows_present_rules() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cr3t\n").unwrap();
    let sign_in = json!({"clientId": CLIENT, "clientSecretFile": secret.path()});
    let it = Installation::start(&sign_in, &[]).await;
    it.issuer.sign_ins.update(|client| client.secret = Some("s3cr3t"));
    let (url, pending) = begin(&it.api, "/").await;
    let answer = finish(&url, &pending).await;
    let session = cookie(&answer, "panda_session").unwrap_or_else(|| panic!("{}", answer.text));
    // A server whose rules give less.
    let path = it.folder.path().join("less.json");
    let mut file = it.issuer.file();
    file[0]["signIn"] = sign_in;
    file[0]["rules"] = json!([{"claims": {"groups": "platform"}, "role": "viewer", "repositories": ["acme/shop"]}]);
    std::fs::write(&path, file.to_string()).unwrap();
    let flag = format!("--oidc-file={}", path.display());
    let less = Api::serve_with(&it.db.db, &ExternalServices::default(), &[&flag]).await;
    let ask = async |api: &Api, path: &str| {
        Answer::of(api.request(Method::GET, path).header("cookie", &session).send().await.unwrap()).await.status
    };
    assert_eq!((ask(&it.api, "/api/v1/tokens").await, ask(&less, "/api/v1/tokens").await), (200, 403));
    assert_eq!(ask(&less, "/api/v1/deploy").await, 200);
    file[0]["rules"] = json!([{"claims": {"groups": "others"}, "role": "viewer"}]);
    std::fs::write(&path, file.to_string()).unwrap();
    let none = Api::serve_with(&it.db.db, &ExternalServices::default(), &[&flag]).await;
    assert_eq!(ask(&none, "/api/v1/deploy").await, 401);
}

#[tokio::test]
async fn oidc_sign_in__issuer_unavailable() {
    let it = Installation::start(&json!({"clientId": CLIENT}), &[]).await;
    it.issuer.away.store(true, Ordering::SeqCst);
    let answer = get(&format!("http://{}/sign-in/issuer?use=0&next=/history", it.api.address), &[]).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains("value=\"/history\"") && !answer.text.contains(&it.issuer.address.to_string()));
}
