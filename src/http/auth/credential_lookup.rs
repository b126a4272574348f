//! Looks up the credentials that are not cached: those of all requests with one statement at a time, on one connection.
//!
//! A request with an invalid token needs a look-up before its caller is known. Without this, requests with random tokens from many addresses would
//! use all connections of the API.

use std::collections::{HashMap, HashSet};

use tokio::sync::{mpsc, oneshot};

use super::oidc::Verifier;
use crate::db::tokens::{Accepted, CredentialForm};
use crate::db::{Db, DbError};
use crate::domain::permission_basis::Basis;
use crate::domain::token::SecretHash;

/// Requests that may wait for the statement after the present one. Further requests wait for a place, within their time limit.
const MAX_WAITING: usize = 4_096;

/// Key of a credential; its variant says which table has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Token(SecretHash),
    Session(SecretHash),
    /// An issuer's subject, by its name in Panda. Only its revocation is cached; its tokens are verified at each request.
    Subject(String),
}

impl Key {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Session(_) => "session",
            Self::Subject(_) => "subject",
        }
    }
}

/// A valid credential, with the principal that its row has; none for a subject, whose caller knows it.
pub(super) type Found = Option<Accepted>;

/// Reads credentials from the database.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    db: Db,
    /// Hash of the present admin token, which may have opened sessions.
    admin: Option<SecretHash>,
    /// The present rules of issuers, whose subjects may have opened sessions.
    oidc: Option<Verifier>,
}

/// A key that a request waits for; the answer is none when no valid credential has it.
type Waiting = (Key, oneshot::Sender<Result<Option<Found>, DbError>>);

/// The requests that wait for the next statement.
#[derive(Debug)]
pub(super) struct Lookups(mpsc::Sender<Waiting>);

impl Finder {
    pub(super) fn new(db: Db, admin: Option<SecretHash>, oidc: Option<Verifier>) -> Self {
        Self { db, admin, oidc }
    }

    /// Gives a session of an issuer's subject the role and scope of the present rules; none when they give the subject nothing any more.
    fn by_present_rules(&self, mut session: Accepted) -> Option<Accepted> {
        let Basis::Oidc(identity) = &session.principal.basis else { return Some(session) };
        let (role, scope) = self.oidc.as_ref()?.right(identity)?;
        session.principal.scope = scope;
        if session.form == CredentialForm::PageSession {
            session.principal.role = role;
        }
        Some(session)
    }

    /// Queries the database for `keys`; returns those that are valid.
    pub(super) async fn find(&self, keys: &[Key]) -> Result<HashMap<Key, Found>, DbError> {
        let (mut tokens, mut sessions, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            match key {
                Key::Token(hash) => tokens.push(*hash),
                Key::Session(hash) => sessions.push(*hash),
                Key::Subject(name) => subjects.push(name.clone()),
            }
        }
        let mut found = HashMap::new();
        if !tokens.is_empty() {
            let rows = self.db.token_principals(&tokens).await?;
            found.extend(rows.into_iter().map(|row| (Key::Token(row.hash), Some(row))));
        }
        if !sessions.is_empty() {
            let rows = self.db.session_principals(&sessions, self.admin.as_ref()).await?;
            let rows = rows.into_iter().filter_map(|row| self.by_present_rules(row));
            found.extend(rows.map(|row| (Key::Session(row.hash), Some(row))));
        }
        if !subjects.is_empty() {
            let revoked: HashSet<String> = self.db.revoked_among(&subjects).await?.into_iter().collect();
            let accepted = subjects.into_iter().filter(|name| !revoked.contains(name));
            found.extend(accepted.map(|name| (Key::Subject(name), None)));
        }
        Ok(found)
    }
}

impl Lookups {
    /// Starts the task that runs the statements. It ends when this value is dropped.
    pub(super) fn start(finder: Finder) -> Self {
        let (sender, mut receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            while receiver.recv_many(&mut waiting, MAX_WAITING).await > 0 {
                answer(&finder, &mut waiting).await;
            }
        });
        Self(sender)
    }

    /// Looks up one key, together with those of other requests.
    pub(super) async fn find(&self, key: Key) -> Result<Option<Found>, DbError> {
        let (answer, answered) = oneshot::channel();
        // Only a panic ends the task.
        let ended = || DbError::from(sqlx::Error::WorkerCrashed);
        self.0.send((key, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// Answers all of `waiting`, and leaves it empty.
async fn answer(finder: &Finder, waiting: &mut Vec<Waiting>) {
    // Of clients that have not disconnected.
    waiting.retain(|(_, answer)| !answer.is_closed());
    let keys: HashSet<&Key> = waiting.iter().map(|(key, _)| key).collect();
    let keys: Vec<Key> = keys.into_iter().cloned().collect();
    let found = finder.find(&keys).await;
    for (key, answer) in waiting.drain(..) {
        let found = match &found {
            Ok(found) => Ok(found.get(&key).cloned()),
            Err(error) => Err(error.shared()),
        };
        let _ = answer.send(found);
    }
}
