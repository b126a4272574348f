//! An OpenID Connect issuer that speaks HTTP, makes real keys and changes them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use chrono::Utc;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::oidc_sign_in::{self, SignIns};

/// An issuer with its keys, served at `/.well-known/openid-configuration`.
#[derive(Clone)]
pub struct Issuer {
    pub address: SocketAddr,
    pub keys: Arc<Mutex<Vec<Value>>>,
    /// While true, it answers with a gateway's 502.
    pub away: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    /// While false, no request is answered.
    pub answers: watch::Sender<bool>,
    /// Browsers that sign in.
    pub sign_ins: SignIns,
}

/// One of the issuer's key pairs.
pub struct Key {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl Key {
    pub fn ec(id: &'static str) -> Self {
        let der = rcgen::KeyPair::generate().unwrap().serialize_der();
        Self { id, algorithm: Algorithm::ES256, private: EncodingKey::from_ec_der(&der) }
    }

    pub fn rsa(id: &'static str, algorithm: Algorithm) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_der();
        // PKCS#8 puts a header of 26 bytes before a 2,048-bit key; the library takes the key without it.
        Self { id, algorithm, private: EncodingKey::from_rsa_der(&pair[26..]) }
    }

    pub fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        json!(jwk)
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.private).unwrap()
    }
}

impl Issuer {
    pub async fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = Self {
            address,
            keys: Arc::default(),
            away: Arc::default(),
            asked: Arc::default(),
            answers: watch::Sender::new(true),
            sign_ins: SignIns::of(name_of(address)),
        };
        issuer.has(keys);
        let app = Router::new()
            .route("/realm/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys_of))
            .with_state(issuer.clone())
            .merge(oidc_sign_in::routes(issuer.sign_ins.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        issuer
    }

    pub fn has(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.public()).collect();
    }

    pub fn name(&self) -> String {
        name_of(self.address)
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The operator's configuration file.
    pub fn file(&self) -> Value {
        json!([{
            "issuer": self.name(),
            "audiences": ["panda", "panda-staging"],
            "rules": [
                {"claims": {"groups": "platform"}, "role": "admin"},
                {"claims": {"repository_owner": "acme", "ref": "refs/heads/main"}, "role": "deployer", "repositories": ["{repository}"]},
            ],
        }])
    }

    /// Valid claims, with changes; null removes a claim.
    pub fn claims(&self, changes: &Value) -> Value {
        let now = Utc::now().timestamp();
        let mut claims = json!({"iss": self.name(), "aud": "panda", "sub": "repo:acme/shop:ref:refs/heads/main",
            "iat": now, "nbf": now, "exp": now + 300, "repository_owner": "acme", "repository": "acme/shop", "ref": "refs/heads/main"});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }
}

fn name_of(address: SocketAddr) -> String {
    format!("http://{address}/realm")
}

async fn discovery(State(issuer): State<Issuer>) -> Result<Json<Value>, StatusCode> {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    issuer.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
    if issuer.away.load(Ordering::SeqCst) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let at = |path: &str| format!("http://{}/{path}", issuer.address);
    Ok(Json(
        json!({"issuer": issuer.name(), "jwks_uri": at("keys"), "authorization_endpoint": at("authorize"), "token_endpoint": at("token")}),
    ))
}

async fn keys_of(State(issuer): State<Issuer>) -> Json<Value> {
    Json(json!({"keys": *issuer.keys.lock().unwrap()}))
}
