//! An issuer that hangs, or lacks the requested keys: its known keys are used without waiting.

use std::time::Duration;

use futures_util::future::join_all;
use panda::clients::ErrorKind;
use panda::clients::oidc::KeyLifetimes;
use panda::domain::oidc_claims;
use panda::domain::principal::Principal;
use panda::http::auth::oidc::{OidcError, Verifier};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::oidc::{Issuer, Key, invalid, verifier, verifier_with};
use crate::support::{WAIT_LIMIT, wait_for};

/// Longer than a signature check, much shorter than the limit of a fetch.
const PROMPT: Duration = Duration::from_millis(1_500);

fn sign(issuer: &Issuer, key: &Key) -> String {
    key.sign(&issuer.claims(&json!({})))
}

async fn verify_promptly(verifier: &Verifier, token: &str) -> Result<Principal, OidcError> {
    timeout(PROMPT, verifier.verify(token)).await.expect("without waiting")
}

fn without_pause() -> KeyLifetimes {
    KeyLifetimes { pause: Duration::ZERO, ..KeyLifetimes::default() }
}

#[tokio::test]
async fn oidc_keys__known_key_not_blocked_by_hanging_issuer() {
    let (known, unknown) = (Key::ec("known"), Key::ec("unknown"));
    let issuer = Issuer::start(&[&known]).await;
    let verifier = verifier_with(&issuer, without_pause());
    verifier.verify(&sign(&issuer, &known)).await.unwrap();
    issuer.answers.send_replace(false);
    let asked = issuer.asked();
    let strangers: Vec<_> = (0..40)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), sign(&issuer, &unknown));
            tokio::spawn(async move { verifier.verify(&token).await })
        })
        .collect();
    wait_for("the issuer is asked", async || issuer.asked() > asked).await;
    for _ in 0..40 {
        verify_promptly(&verifier, &sign(&issuer, &known)).await.unwrap();
    }
    assert_eq!(issuer.asked(), asked + 1, "one fetch at a time");
    let begun = Instant::now();
    for stranger in join_all(strangers).await {
        assert!(matches!(stranger.unwrap(), Err(OidcError::Unavailable(_))));
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "a fetch has an end, and each waits for two at most");
}

#[tokio::test]
async fn oidc_keys__stale_keys_used_during_refresh() {
    let known = Key::ec("known");
    let issuer = Issuer::start(&[&known]).await;
    let verifier = verifier_with(&issuer, KeyLifetimes { fresh: Duration::ZERO, ..without_pause() });
    verifier.verify(&sign(&issuer, &known)).await.unwrap();
    issuer.answers.send_replace(false);
    let asked = issuer.asked();
    for _ in 0..20 {
        verify_promptly(&verifier, &sign(&issuer, &known)).await.unwrap();
    }
    wait_for("they are refreshed", async || issuer.asked() > asked).await;
    assert_eq!(issuer.asked(), asked + 1);
}

#[tokio::test]
async fn oidc_keys__hanging_issuer_does_not_delay_others() {
    let key = Key::ec("k");
    let (hangs, answers) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    let mut file = hangs.file();
    file.as_array_mut().unwrap().extend(answers.file().as_array().unwrap().clone());
    let verifier = Verifier::new(oidc_claims::parse(&file.to_string()).unwrap()).unwrap();
    hangs.answers.send_replace(false);
    let waits = {
        let (verifier, token) = (verifier.clone(), sign(&hangs, &key));
        tokio::spawn(async move { verifier.verify(&token).await })
    };
    wait_for("the issuer receives a request", async || hangs.asked() == 1).await;
    verify_promptly(&verifier, &sign(&answers, &key)).await.unwrap();
    hangs.answers.send_replace(true);
    waits.await.unwrap().expect("its own token waited, and is good");
}

#[tokio::test]
async fn oidc_keys__concurrent_tokens_share_one_fetch() {
    let (first, second) = (Key::ec("first"), Key::ec("second"));
    let issuer = Issuer::start(&[&first]).await;
    let verifier = verifier_with(&issuer, without_pause());
    verifier.verify(&sign(&issuer, &first)).await.unwrap();
    issuer.has(&[&first, &second]);
    issuer.answers.send_replace(false);
    let asked = issuer.asked();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), sign(&issuer, &second));
            tokio::spawn(async move { verifier.verify(&token).await })
        })
        .collect();
    wait_for("the issuer is asked", async || issuer.asked() > asked).await;
    issuer.answers.send_replace(true);
    for verified in join_all(waiting).await {
        verified.unwrap().unwrap();
    }
    assert!(issuer.asked() <= asked + 2, "{} fetches", issuer.asked() - asked);
}

#[tokio::test]
async fn oidc_keys__dropped_request_does_not_cancel_fetch() {
    let key = Key::ec("k");
    let issuer = Issuer::start(&[&key]).await;
    let verifier = verifier(&issuer);
    issuer.answers.send_replace(false);
    let token = sign(&issuer, &key);
    timeout(Duration::from_millis(100), verifier.verify(&token)).await.expect_err("its client has gone");
    issuer.answers.send_replace(true);
    let principal = timeout(WAIT_LIMIT, verifier.verify(&token)).await.unwrap();
    principal.expect("neither unknown nor unavailable, though the next try would be in ten seconds");
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn oidc_keys__waiting_tokens_bounded() {
    let unknown = Key::ec("unknown");
    let issuer = Issuer::start(&[&Key::ec("known")]).await;
    let verifier = verifier(&issuer);
    issuer.answers.send_replace(false);
    let token = sign(&issuer, &unknown);
    let all = join_all((0..200).map(|_| async {
        let begun = Instant::now();
        let Err(OidcError::Unavailable(error)) = verifier.verify(&token).await else { panic!("it hangs") };
        assert_eq!(error.kind, ErrorKind::Unavailable);
        begun.elapsed() < PROMPT
    }));
    let refused = all.await.into_iter().filter(|refused| *refused).count();
    assert_eq!(refused, 200 - 64);
}

#[tokio::test]
async fn oidc_keys__withdrawn_key_dropped_without_traffic() {
    let (first, second) = (Key::ec("first"), Key::ec("second"));
    let issuer = Issuer::start(&[&first]).await;
    let verifier = verifier_with(&issuer, KeyLifetimes { fresh: Duration::from_secs(1), ..without_pause() });
    verifier.verify(&sign(&issuer, &first)).await.unwrap();
    issuer.has(&[&second]);
    let asked = issuer.asked();
    wait_for("they are refreshed", async || issuer.asked() > asked).await;
    wait_for("the withdrawn key is dropped", async || verifier.verify(&sign(&issuer, &first)).await.is_err()).await;
    assert_eq!(invalid(verifier.verify(&sign(&issuer, &first)).await), "its issuer has no such key");
}

#[tokio::test]
async fn oidc_keys__unusable_keys_skipped_and_too_many_refused() {
    let key = Key::ec("k");
    let issuer = Issuer::start(&[&key]).await;
    let odd = [
        json!({}),
        json!("text"),
        json!(null),
        json!({"kty": "AKP", "alg": "ML-DSA-65", "kid": "new", "pub": "x"}),
        json!({"kty": "EC", "crv": "P-999", "x": "x", "y": "y", "kid": "k0"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}),
        json!({"kty": "RSA", "n": 7, "e": "AQAB"}),
    ];
    issuer.keys.lock().unwrap().splice(0..0, odd);
    verifier(&issuer).verify(&sign(&issuer, &key)).await.expect("the one that can be used");

    let many: Vec<Value> = std::iter::repeat_n(issuer.keys.lock().unwrap()[0].clone(), 101).collect();
    issuer.keys.lock().unwrap().extend(many);
    let Err(OidcError::Unavailable(error)) = verifier(&issuer).verify(&sign(&issuer, &key)).await else {
        panic!("too many keys are refused")
    };
    assert!(error.kind == ErrorKind::Invalid && error.to_string().contains("at most 100"), "{error}");
}
