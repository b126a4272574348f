//! Tokens of an OpenID Connect issuer that speaks HTTP, makes real keys and changes them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use panda::clients::oidc::KeyLifetimes;
use panda::domain::oidc_claims;
use panda::domain::principal::{AuthMethod, Role, Scope};
use panda::http::auth::oidc::{OidcError, Verifier};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

pub use panda_testing::oidc_issuer::{Issuer, Key};

use super::{Answer, Api, ExternalServices, Fixture};
use crate::support::db::TestDb;
use crate::support::{WAIT_LIMIT, wait_for};

/// A verifier that trusts this issuer.
pub fn verifier(issuer: &Issuer) -> Verifier {
    verifier_with(issuer, KeyLifetimes::default())
}

pub fn verifier_with(issuer: &Issuer, times: KeyLifetimes) -> Verifier {
    Verifier::with_times(oidc_claims::parse(&issuer.file().to_string()).unwrap(), times).unwrap()
}

pub fn invalid(verified: Result<panda::domain::principal::Principal, OidcError>) -> String {
    match verified.unwrap_err() {
        OidcError::Invalid(reason) => reason.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn oidc__valid_token_gets_role_of_rules_with_any_algorithm() {
    let keys = [Key::ec("ec"), Key::rsa("rs", Algorithm::RS256), Key::rsa("ps", Algorithm::PS256)];
    let issuer = Issuer::start(&[&keys[0], &keys[1], &keys[2]]).await;
    let verifier = verifier(&issuer);
    for key in &keys {
        let claims = issuer.claims(&json!({}));
        let token = key.sign(&claims);
        assert!(Verifier::is_jwt(&token));
        let principal = verifier.verify(&token).await.unwrap();
        assert_eq!((principal.kind, principal.role), (AuthMethod::Oidc, Role::Deployer));
        assert_eq!(principal.scope, Scope::of(&["acme/shop".to_owned()]).unwrap());
        assert_eq!(principal.subject, format!("{}/realm|repo:acme/shop:ref:refs/heads/main", issuer.address));
        assert_eq!(principal.expires_at.unwrap().timestamp(), claims["exp"]);
    }
    let person = issuer.claims(&json!({"aud": ["other", "panda-staging"], "groups": ["x", "platform"]}));
    let principal = verifier.verify(&keys[0].sign(&person)).await.unwrap();
    assert_eq!((principal.role, principal.scope), (Role::Admin, Scope::All));
    assert_eq!(issuer.asked(), 1, "the keys are kept");
}

#[tokio::test]
async fn oidc__wrong_audience_time_or_issuer_refused() {
    let (key, other) = (Key::ec("k"), Key::ec("k"));
    let issuer = Issuer::start(&[&key]).await;
    let verifier = verifier(&issuer);
    let now = Utc::now().timestamp();
    let ago = |seconds: i64| json!({"exp": now - seconds});
    for (changes, reason) in [
        (ago(60), "it has expired"),
        (json!({"nbf": now + 60}), "it is not valid yet"),
        (json!({"aud": "another-service"}), "it is for another audience"),
        (json!({"aud": []}), "it is for another audience"),
        (json!({"aud": null}), "it lacks one of exp, iss, aud, sub"),
        (json!({"exp": null}), "it lacks one of exp, iss, aud, sub"),
        (json!({"sub": null}), "it lacks one of exp, iss, aud, sub"),
        (json!({"exp": "tomorrow"}), "it lacks one of exp, iss, aud, sub"),
        (json!({"sub": ""}), "its subject is empty, too long or has unprintable characters"),
        (json!({"sub": "a\nb"}), "its subject is empty, too long or has unprintable characters"),
        (json!({"sub": "x".repeat(300)}), "its subject is empty, too long or has unprintable characters"),
    ] {
        assert_eq!(invalid(verifier.verify(&key.sign(&issuer.claims(&changes))).await), reason, "{changes}");
    }
    let good = issuer.claims(&json!({}));
    assert_eq!(invalid(verifier.verify(&other.sign(&good)).await), "its signature is wrong");
    verifier.verify(&key.sign(&issuer.claims(&ago(5)))).await.expect("clocks differ a little");
    for changes in
        [json!({"ref": "refs/heads/evil"}), json!({"repository_owner": "evil"}), json!({"repository": "acme/*"})]
    {
        let answer = verifier.verify(&key.sign(&issuer.claims(&changes))).await;
        assert!(matches!(answer, Err(OidcError::NoRight)), "{changes}");
    }
    for issuer_of in ["https://evil.example", "", &format!("{}/", issuer.name())] {
        let answer = verifier.verify(&key.sign(&issuer.claims(&json!({"iss": issuer_of})))).await;
        assert!(matches!(answer, Err(OidcError::UnknownIssuer)), "{issuer_of}");
    }
}

#[tokio::test]
async fn oidc__algorithm_and_header_tricks_refused() {
    let (ec, rsa) = (Key::ec("ec"), Key::rsa("rs", Algorithm::RS256));
    let issuer = Issuer::start(&[&ec, &rsa]).await;
    let verifier = verifier(&issuer);
    let claims = issuer.claims(&json!({}));
    let forged = |header: Value, signature: &[u8]| {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}.{}", part(header.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(signature))
    };
    // Signed with the public key as if it were a shared secret.
    let header = Header { kid: Some("rs".to_owned()), ..Header::new(Algorithm::HS256) };
    let public = rsa.public()["n"].as_str().unwrap().to_owned();
    let shared = encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap();
    let genuine = ec.sign(&claims);
    let signature = genuine.rsplit('.').next().unwrap();
    let swapped = genuine.replacen(
        genuine.split('.').next().unwrap(),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"ec"}"#),
        1,
    );
    for token in [
        shared,
        swapped,
        forged(json!({"alg": "none"}), b""),
        forged(json!({"alg": "none", "kid": "ec"}), b""),
        forged(json!({"alg": "ES256", "kid": "ec"}), &[0; 64]),
        forged(json!({"alg": "ES256", "kid": "ec"}), b""),
        forged(json!({"alg": "ES256", "kid": "../../keys"}), &[1; 64]),
        // The forger's own key, in the header.
        forged(json!({"alg": "ES256", "jwk": Key::ec("x").public()}), &[1; 64]),
        forged(json!({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": false}), &[1; 64]),
        format!("{}.{signature}", genuine.rsplit_once('.').unwrap().0.replace('a', "b")),
        format!("{genuine}="),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.x.y", "x".repeat(20_000)),
    ] {
        assert!(matches!(verifier.verify(&token).await, Err(OidcError::Invalid(_))), "{token}");
    }
    verifier.verify(&genuine).await.expect("the connection the others were copied from");
}

#[tokio::test]
async fn oidc__new_key_found_and_unknown_kids_not_refetched() {
    let (first, second, stranger) = (Key::ec("first"), Key::ec("second"), Key::ec("stranger"));
    let issuer = Issuer::start(&[&first]).await;
    let sign = |key: &Key| key.sign(&issuer.claims(&json!({})));
    let (verifier, eager) =
        (verifier(&issuer), verifier_with(&issuer, KeyLifetimes { pause: Duration::ZERO, ..KeyLifetimes::default() }));
    for verifier in [&verifier, &eager] {
        verifier.verify(&sign(&first)).await.unwrap();
    }
    issuer.has(&[&first, &second]);
    let asked = issuer.asked();
    for _ in 0..20 {
        assert_eq!(invalid(verifier.verify(&sign(&stranger)).await), "its issuer has no such key");
    }
    assert_eq!(issuer.asked(), asked, "not so soon after the last fetch");
    eager.verify(&sign(&second)).await.expect("the new one");
    assert_eq!(issuer.asked(), asked + 1);
}

#[tokio::test]
async fn oidc__cached_keys_used_while_issuer_unreachable() {
    let (first, second) = (Key::ec("first"), Key::ec("second"));
    let issuer = Issuer::start(&[&first]).await;
    let sign = |key: &Key| key.sign(&issuer.claims(&json!({})));
    let verifier = verifier_with(
        &issuer,
        KeyLifetimes { fresh: Duration::ZERO, stale: Duration::from_secs(3), pause: Duration::ZERO },
    );
    issuer.away.store(true, Ordering::SeqCst);
    assert!(
        matches!(verifier.verify(&sign(&first)).await, Err(OidcError::Unavailable(_))),
        "no fetch is permitted yet"
    );
    issuer.away.store(false, Ordering::SeqCst);
    verifier.verify(&sign(&first)).await.unwrap();
    issuer.away.store(true, Ordering::SeqCst);
    verifier.verify(&sign(&first)).await.unwrap();
    assert!(matches!(verifier.verify(&sign(&second)).await, Err(OidcError::Unavailable(_))), "it may be a new one");
    wait_for("cached keys expire", async || {
        matches!(verifier.verify(&sign(&first)).await, Err(OidcError::Unavailable(_)))
    })
    .await;
    // The issuer is back, and has withdrawn a key.
    issuer.away.store(false, Ordering::SeqCst);
    issuer.has(&[&second]);
    assert_eq!(invalid(verifier.verify(&sign(&first)).await), "its issuer has no such key");
    verifier.verify(&sign(&second)).await.unwrap();
}

#[tokio::test]
async fn oidc__github_workflow_sees_its_repository() {
    let key = Key::ec("k");
    let issuer = Issuer::start(&[&key]).await;
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.json");
    std::fs::write(&path, issuer.file().to_string()).unwrap();
    let file = format!("--oidc-file={}", path.display());
    // Without `--auth=required`: a configured issuer is enough to require authentication.
    let api = Api::serve_with(&db.db, &ExternalServices::default(), &[&file]).await;
    let (shop, toys) =
        (Fixture::begin_of(&db.db, "acme", "shop").await, Fixture::begin_of(&db.db, "acme", "toys").await);
    let ask = async |method: Method, path: String, token: &str| {
        Answer::of(api.request(method, &path).bearer_auth(token).send().await.unwrap()).await
    };
    let token = key.sign(&issuer.claims(&json!({})));
    let result = |fixture: &Fixture| format!("/api/v1/deploy/{}/result", fixture.id());
    assert_eq!(ask(Method::GET, result(&shop), &token).await.status, 200);
    ask(Method::GET, result(&toys), &token).await.problem(404, "DEPLOYMENT_NOT_FOUND");
    let switch = format!("/api/v1/deploy/{}/switch", shop.id());
    ask(Method::POST, switch, &token).await.problem(403, "NOT_ALLOWED");
    assert_eq!(ask(Method::POST, format!("/api/v1/deploy/{}/cancel", shop.id()), &token).await.status, 200);

    let refused = ask(Method::GET, result(&shop), &key.sign(&issuer.claims(&json!({"aud": "other"})))).await;
    let problem = refused.problem(401, "NOT_SIGNED_IN");
    assert!(problem["detail"].as_str().unwrap().contains("another audience"), "{problem}");
    api.get("/api/v1/deploy").await.problem(401, "NOT_SIGNED_IN");
}

#[tokio::test]
async fn oidc__stream_ends_with_its_token() {
    let key = Key::ec("k");
    let issuer = Issuer::start(&[&key]).await;
    let db = TestDb::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.json");
    std::fs::write(&path, issuer.file().to_string()).unwrap();
    let api =
        Api::serve_with(&db.db, &ExternalServices::default(), &[&format!("--oidc-file={}", path.display())]).await;
    let fixture = Fixture::begin_of(&db.db, "acme", "shop").await;
    let token = key.sign(&issuer.claims(&json!({"exp": Utc::now().timestamp() + 3})));
    let events = format!("/api/v1/deploy/{}/events", fixture.id());
    let stream = api.request(Method::GET, &events).bearer_auth(&token).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let begun = Instant::now();
    timeout(WAIT_LIMIT, stream.bytes()).await.expect("it ends").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
