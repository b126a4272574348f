//! The sign-in of an OpenID Connect issuer: authorization code with PKCE. It checks client, redirect URI, challenge and verifier as a real issuer does, and
//! signs every user in without asking.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

/// A client that the issuer knows, and the next user.
pub struct SignInClient {
    pub client_id: &'static str,
    pub secret: Option<&'static str>,
    /// Exact addresses to which the issuer returns.
    pub redirect_uris: Vec<String>,
    /// Signs the id tokens.
    pub sign: Box<dyn Fn(&Value) -> String + Send>,
    /// Changes of the user's claims, which may contradict the request.
    pub claims: Value,
    /// Error that the issuer returns instead of a code.
    pub error: Option<&'static str>,
}

/// State of the issuer's sign-ins.
#[derive(Clone)]
pub struct SignIns {
    /// Name of the issuer.
    issuer: String,
    registered: Arc<Mutex<Registered>>,
}

#[derive(Default)]
struct Registered {
    client: Option<SignInClient>,
    /// Parameters of authorization requests, by code. Exchanging a code removes it.
    codes: HashMap<String, HashMap<String, String>>,
    /// Forms that clients posted to exchange a code.
    exchanges: Vec<HashMap<String, String>>,
}

impl SignIns {
    pub(crate) fn of(issuer: String) -> Self {
        Self { issuer, registered: Arc::default() }
    }

    pub fn register(&self, client: SignInClient) {
        self.registered.lock().unwrap().client = Some(client);
    }

    /// Changes the client or its next user.
    pub fn update(&self, change: impl FnOnce(&mut SignInClient)) {
        change(self.registered.lock().unwrap().client.as_mut().expect("a registered client"));
    }

    /// The bodies of all exchanges.
    pub fn exchanges(&self) -> Vec<HashMap<String, String>> {
        self.registered.lock().unwrap().exchanges.clone()
    }
}

pub(crate) fn routes(sign_ins: SignIns) -> Router {
    Router::new().route("/authorize", get(authorize)).route("/token", post(token)).with_state(sign_ins)
}

/// Returns the browser with a code, or refuses without a redirect, as an issuer must for an unknown client or address.
async fn authorize(State(sign_ins): State<SignIns>, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut state = sign_ins.registered.lock().unwrap();
    let client = state.client.as_ref().expect("a registered client");
    let is = |name: &str, value: &str| query.get(name).is_some_and(|given| given == value);
    let challenge = query.get("code_challenge").is_some_and(|challenge| challenge.len() == 43);
    let known = is("client_id", client.client_id) && client.redirect_uris.iter().any(|uri| is("redirect_uri", uri));
    if !known || !is("response_type", "code") || !is("code_challenge_method", "S256") || !challenge {
        return (StatusCode::BAD_REQUEST, format!("refused by the issuer: {query:?}")).into_response();
    }
    if !query.get("scope").is_some_and(|scope| scope.split(' ').any(|scope| scope == "openid")) {
        return (StatusCode::BAD_REQUEST, "the scope lacks openid").into_response();
    }
    let mut back: Url = query["redirect_uri"].parse().unwrap();
    back.query_pairs_mut().append_pair("state", &query["state"]).append_pair("iss", &sign_ins.issuer);
    if let Some(error) = client.error {
        back.query_pairs_mut().append_pair("error", error);
    } else {
        let code = format!("code-{}", uuid::Uuid::new_v4());
        back.query_pairs_mut().append_pair("code", &code);
        state.codes.insert(code, query);
    }
    Redirect::to(back.as_str()).into_response()
}

async fn token(
    State(sign_ins): State<SignIns>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: String,
) -> Response {
    assert_eq!(query, None, "secrets do not belong into an address");
    let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut state = sign_ins.registered.lock().unwrap();
    state.exchanges.push(form.clone());
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let asked = form.get("code").and_then(|code| state.codes.remove(code));
    let client = state.client.as_ref().expect("a registered client");
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let authenticated = match client.secret {
        Some(secret) => {
            let expected = format!("Basic {}", STANDARD.encode(format!("{}:{secret}", client.client_id)));
            authorization == Some(expected)
        }
        None => authorization.is_none() && form.get("client_id").is_some_and(|id| id == client.client_id),
    };
    if !authenticated {
        return refused("invalid_client");
    }
    let Some(asked) = asked else { return refused("invalid_grant") };
    let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let same = form.get("redirect_uri") == asked.get("redirect_uri") && asked["code_challenge"] == challenge;
    if !same || form.get("grant_type").is_none_or(|kind| kind != "authorization_code") {
        return refused("invalid_grant");
    }
    let now = Utc::now().timestamp();
    let mut claims = json!({"iss": sign_ins.issuer, "sub": "user", "aud": client.client_id, "nonce": asked["nonce"], "iat": now, "exp": now + 300});
    for (name, value) in client.claims.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let id_token = (client.sign)(&claims);
    Json(json!({"access_token": "unused", "token_type": "Bearer", "id_token": id_token})).into_response()
}
