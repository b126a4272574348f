//! Authentication and authorisation, over real sockets.

mod audit;
mod outage;
mod page_sessions;
mod refusals;
mod roles;
mod scopes;
mod sessions;
mod tickets;
mod tokens;

use chrono::{DateTime, Utc};
use panda::db::Db;
use panda::db::tokens::NewToken;
use panda::domain::principal::{Caller, Role, Scope};
use panda::domain::{ids, token};
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Answer, Api, Reader};
use crate::support::panda::Panda;

/// An API that requires authentication.
pub async fn serve(db: &Db) -> Api {
    Panda::builder().database(db).auth().api().await
}

/// A token stored in the database.
pub struct Token {
    pub id: String,
    pub secret: String,
}

impl Token {
    /// A token for all repositories that never expires.
    pub async fn of(db: &Db, role: Role) -> Self {
        Self::make(db, role, Scope::All, None).await
    }

    /// A token for some repositories.
    pub async fn scoped(db: &Db, role: Role, repositories: &[&str]) -> Self {
        let names: Vec<String> = repositories.iter().map(|&name| name.to_owned()).collect();
        Self::make(db, role, Scope::of(&names).unwrap(), None).await
    }

    /// A token with this role, scope and expiry.
    pub async fn make(db: &Db, role: Role, scope: Scope, expires_at: Option<DateTime<Utc>>) -> Self {
        let secret = token::api_token().unwrap();
        let new = NewToken { id: ids::token_id(), name: format!("{role}-test"), role, scope, expires_at };
        panda::commands::tokens::create_token(db, &new, &token::hash(&secret), &Caller::local()).await.unwrap();
        Self { id: new.id, secret: secret.expose_secret().to_owned() }
    }

    /// A request signed in with the token.
    pub fn request(&self, api: &Api, method: Method, path: &str) -> RequestBuilder {
        api.signed_in(&self.secret).request(method, path)
    }

    pub async fn get(&self, api: &Api, path: &str) -> Answer {
        api.signed_in(&self.secret).get(path).await
    }

    pub async fn post(&self, api: &Api, path: &str, body: &Value) -> Answer {
        api.signed_in(&self.secret).post(path, body).await
    }

    pub async fn put(&self, api: &Api, path: &str, body: &Value) -> Answer {
        api.signed_in(&self.secret).put(path, body).await
    }

    /// Opens an event stream.
    pub async fn follow(&self, api: &Api, path: &str) -> Reader {
        Reader::open(self.request(api, Method::GET, path)).await
    }
}
