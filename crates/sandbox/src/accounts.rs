//! The two AWS accounts, and the authentication of requests.

use std::collections::HashMap;

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rand::RngExt;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::options::SandboxCredentials;
use super::target_role;

/// The only region of the sandbox.
pub const REGION: &str = "ap-northeast-2";
/// Account of the user's AWS connection: ECR, the rule, `CodeDeploy`, ECS.
pub const USER_ACCOUNT: &str = "210987654321";
/// Account of the controller: the bus, the state machine, the secret.
pub const CONTROLLER_ACCOUNT: &str = "123456789012";
/// Organization that both accounts belong to.
pub const ORGANIZATION: &str = "o-sandbox123";
/// Role of the user's account with which EventBridge may put events on the controller's buses.
pub const EVENTS_ROLE: &str = "arn:aws:iam::210987654321:role/panda-events";
/// Name of the only ECS cluster.
pub const CLUSTER: &str = "panda-cluster";

/// Identity of a request's caller, in the terms of STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCaller {
    pub account: String,
    pub arn: String,
    pub user_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The request has no `SigV4` header.
    Missing,
    /// The access key id (or its session token) is unknown.
    UnknownKey,
    /// The session of the access key id has ended.
    Expired,
    /// The credential is scoped to another region.
    WrongRegion,
}

struct Session {
    caller: AwsCaller,
    token: String,
    /// The end of a session that ends by itself.
    expires: Option<DateTime<Utc>>,
}

/// The long-lived keys, the roles, and the sessions created by `AssumeRole`.
pub struct Accounts {
    pub user: SandboxCredentials,
    pub controller: SandboxCredentials,
    /// Trust policies by the role's ARN.
    roles: Mutex<HashMap<String, Value>>,
    /// Inline policies by the role's ARN and their name.
    role_policies: Mutex<HashMap<(String, String), Value>>,
    sessions: Mutex<HashMap<String, Session>>,
}

impl Accounts {
    /// Creates accounts whose key ids are derived from `seed`, so that stored connections survive a restart. Without a seed
    /// the ids are random.
    ///
    /// Signatures are not verified, so the id must be secret: every process on the machine can reach the port.
    pub fn new(seed: Option<&SecretString>) -> Self {
        let seed = seed.cloned().unwrap_or_else(|| SecretString::from(random_text(40)));
        let key = |account: &str| SandboxCredentials {
            access_key_id: key_id(&seed, account),
            secret_access_key: SecretString::from(random_text(40)),
        };
        Self {
            user: key(USER_ACCOUNT),
            controller: key(CONTROLLER_ACCOUNT),
            roles: Mutex::new(HashMap::from([(EVENTS_ROLE.to_owned(), target_role::trust_of_events())])),
            role_policies: Mutex::new(HashMap::from([(
                (EVENTS_ROLE.to_owned(), "put-events".to_owned()),
                target_role::put_events_on(&format!("arn:aws:events:*:{CONTROLLER_ACCOUNT}:event-bus/*")),
            )])),
            sessions: Mutex::default(),
        }
    }

    /// Creates a role, or replaces its trust policy.
    pub fn put_role(&self, arn: &str, trust_policy: Value) {
        self.roles.lock().insert(arn.to_owned(), trust_policy);
    }

    /// The trust policy of a role; `None` for an unknown role.
    pub fn trust_policy(&self, arn: &str) -> Option<Value> {
        self.roles.lock().get(arn).cloned()
    }

    /// Creates an inline policy of a role, or replaces it.
    pub fn put_role_policy(&self, arn: &str, name: &str, policy: Value) {
        self.role_policies.lock().insert((arn.to_owned(), name.to_owned()), policy);
    }

    /// An inline policy of a role.
    pub fn role_policy(&self, arn: &str, name: &str) -> Option<Value> {
        self.role_policies.lock().get(&(arn.to_owned(), name.to_owned())).cloned()
    }

    /// Returns true if EventBridge may assume the role for this rule of the role's account.
    pub fn trusts_rule(&self, role: &str, rule_arn: &str, account: &str) -> bool {
        self.trust_policy(role).is_some_and(|policy| target_role::trusts_rule(&policy, rule_arn, account))
    }

    /// Returns true if an inline policy of the role allows it to put events on the bus.
    pub fn may_put_events(&self, role: &str, bus_arn: &str) -> bool {
        self.role_policies
            .lock()
            .iter()
            .any(|((of, _), policy)| of == role && target_role::allows_put_events(policy, bus_arn))
    }

    /// Returns the caller that the request's `Authorization` header names.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<AwsCaller, AuthError> {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or(AuthError::Missing)?;
        let (key, region) = credential(header).ok_or(AuthError::Missing)?;
        let token = headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
        let caller = match key {
            key if key == self.user.access_key_id => long_lived(USER_ACCOUNT),
            key if key == self.controller.access_key_id => long_lived(CONTROLLER_ACCOUNT),
            other => {
                let sessions = self.sessions.lock();
                let session = sessions.get(other).filter(|session| token == Some(session.token.as_str()));
                let session = session.ok_or(AuthError::UnknownKey)?;
                if session.expires.is_some_and(|end| end <= Utc::now()) {
                    return Err(AuthError::Expired);
                }
                session.caller.clone()
            }
        };
        if region == REGION { Ok(caller) } else { Err(AuthError::WrongRegion) }
    }

    /// Ends a session as its expiry would.
    pub fn expire_session(&self, access_key_id: &str) {
        if let Some(session) = self.sessions.lock().get_mut(access_key_id) {
            session.expires = Some(Utc::now());
        }
    }

    pub fn end_session(&self, access_key_id: &str) {
        self.sessions.lock().remove(access_key_id);
    }

    /// Creates temporary credentials for `caller`: access key id, secret, session token.
    pub fn open_session(&self, caller: AwsCaller, expires: Option<DateTime<Utc>>) -> (String, String, String) {
        let key = format!("ASIA{}", random_upper(16));
        let token = random_text(120);
        let mut sessions = self.sessions.lock();
        sessions.insert(key.clone(), Session { caller, token: token.clone(), expires });
        (key, random_text(40), token)
    }
}

/// `AKIA` and sixteen capital letters and digits: 80 bits of the seed's hash.
fn key_id(seed: &SecretString, account: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::new().chain_update(account).chain_update(seed.expose_secret()).finalize();
    let letters = hash.iter().take(16).map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "AKIA".chars().chain(letters).collect()
}

fn long_lived(account: &str) -> AwsCaller {
    AwsCaller {
        account: account.to_owned(),
        arn: format!("arn:aws:iam::{account}:user/panda"),
        user_id: format!("AIDAPANDA{account}"),
    }
}

/// Parses access key id and region of `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn credential(header: &str) -> Option<(&str, &str)> {
    let scope = header.split_once("Credential=")?.1.split([',', ' ']).next()?;
    let mut parts = scope.split('/');
    let key = parts.next()?;
    let region = parts.nth(1)?;
    Some((key, region))
}

/// `length` random letters and digits.
pub fn random_text(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    pick(LETTERS, length)
}

/// `length` random capital letters and digits, the alphabet of AWS ids.
pub fn random_upper(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    pick(LETTERS, length)
}

fn pick(letters: &[u8], length: usize) -> String {
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(letters[rng.random_range(0..letters.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &str, region: &str) -> HeaderMap {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/sts/aws4_request, SignedHeaders=host, Signature=00"
        );
        HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn key_id_selects_the_account() {
        let accounts = Accounts::new(None);
        for (keys, account) in [(&accounts.user, USER_ACCOUNT), (&accounts.controller, CONTROLLER_ACCOUNT)] {
            let caller = accounts.authenticate(&signed(&keys.access_key_id, REGION)).unwrap();
            assert_eq!(caller.account, account);
            assert!(!format!("{caller:?}").contains(&keys.access_key_id), "the caller's debug output hides the key");
        }
    }

    #[test]
    fn seed_determines_the_key_ids() {
        let id = |seed: Option<&str>| {
            let accounts = Accounts::new(seed.map(SecretString::from).as_ref());
            (accounts.user.access_key_id, accounts.controller.access_key_id)
        };
        assert_eq!(id(Some("a")), id(Some("a")));
        assert_ne!(id(Some("a")), id(Some("b")));
        assert_ne!(id(None), id(None));
        let (user, controller) = id(None);
        assert_ne!(user, controller);
        assert_eq!(user.len(), 20);
    }

    #[test]
    fn rejects_missing_unknown_and_foreign_credentials() {
        let accounts = Accounts::new(None);
        assert_eq!(accounts.authenticate(&HeaderMap::new()), Err(AuthError::Missing));
        assert_eq!(accounts.authenticate(&signed("AKIAPANDAUSER0000001", REGION)), Err(AuthError::UnknownKey));
        let elsewhere = signed(&accounts.user.access_key_id, "us-east-1");
        assert_eq!(accounts.authenticate(&elsewhere), Err(AuthError::WrongRegion));
    }

    #[test]
    fn session_requires_its_token() {
        let accounts = Accounts::new(None);
        let (key, _, token) = accounts.open_session(long_lived(USER_ACCOUNT), None);
        let mut headers = signed(&key, REGION);
        assert_eq!(accounts.authenticate(&headers), Err(AuthError::UnknownKey));
        headers.insert("x-amz-security-token", token.parse().unwrap());
        assert_eq!(accounts.authenticate(&headers).unwrap().account, USER_ACCOUNT);
        accounts.expire_session(&key);
        assert_eq!(accounts.authenticate(&headers), Err(AuthError::Expired));
    }
}
