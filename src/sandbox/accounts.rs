//! The two accounts, and who a request comes from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use rand::RngExt;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::options::SandboxCredentials;

/// The region that everything is in.
pub const REGION: &str = "ap-northeast-2";
/// The account of the user's AWS connection: ECR, the rule, `CodeDeploy`, ECS.
pub const USER_ACCOUNT: &str = "210987654321";
/// The controller's account: the bus, the state machine, the secret.
pub const CONTROLLER_ACCOUNT: &str = "123456789012";

/// Whom a request comes from, as STS would tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: String,
    pub arn: String,
    pub user_id: String,
}

/// Why a request is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// No `SigV4` header.
    Missing,
    /// The access key id (or its session token) is unknown.
    UnknownKey,
    /// The credential is scoped to another region.
    WrongRegion,
}

/// The long-lived keys, the roles, and the sessions that `AssumeRole` handed out.
pub struct Accounts {
    pub user: SandboxCredentials,
    pub controller: SandboxCredentials,
    /// Trust policies by the role's ARN.
    roles: Mutex<HashMap<String, Value>>,
    sessions: Mutex<HashMap<String, (Caller, String)>>,
}

impl Accounts {
    /// Accounts whose key ids are made of `seed`: the same seed, the same ids, so that a stored connection outlives a restart. Without one
    /// they are new.
    ///
    /// Signatures are not verified, so that the id is what nobody else may know: everybody on the machine reaches the port.
    pub fn new(seed: Option<&SecretString>) -> Self {
        let seed = seed.cloned().unwrap_or_else(|| SecretString::from(random_text(40)));
        let key = |account: &str| SandboxCredentials {
            access_key_id: key_id(&seed, account),
            secret_access_key: SecretString::from(random_text(40)),
        };
        Self {
            user: key(USER_ACCOUNT),
            controller: key(CONTROLLER_ACCOUNT),
            roles: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Makes a role, or gives it another trust policy.
    pub fn put_role(&self, arn: &str, trust_policy: Value) {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).insert(arn.to_owned(), trust_policy);
    }

    /// The trust policy of a role; none when there is no such role.
    pub fn trust_policy(&self, arn: &str) -> Option<Value> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner).get(arn).cloned()
    }

    /// The caller that the request's `Authorization` header names.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, AuthError> {
        let header = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or(AuthError::Missing)?;
        let (key, region) = credential(header).ok_or(AuthError::Missing)?;
        let token = headers.get("x-amz-security-token").and_then(|value| value.to_str().ok());
        let caller = match key {
            key if key == self.user.access_key_id => long_lived(USER_ACCOUNT),
            key if key == self.controller.access_key_id => long_lived(CONTROLLER_ACCOUNT),
            other => {
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                let (caller, expected) = sessions.get(other).ok_or(AuthError::UnknownKey)?;
                if token != Some(expected) {
                    return Err(AuthError::UnknownKey);
                }
                caller.clone()
            }
        };
        if region == REGION { Ok(caller) } else { Err(AuthError::WrongRegion) }
    }

    /// Takes temporary credentials back.
    pub fn end_session(&self, access_key_id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(access_key_id);
    }

    /// New temporary credentials for `caller`: access key id, secret, session token.
    pub fn open_session(&self, caller: Caller) -> (String, String, String) {
        let key = format!("ASIA{}", random_upper(16));
        let token = random_text(120);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(key.clone(), (caller, token.clone()));
        (key, random_text(40), token)
    }
}

/// `AKIA` and sixteen capitals and digits, 80 bits of the seed's hash.
fn key_id(seed: &SecretString, account: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::new().chain_update(account).chain_update(seed.expose_secret()).finalize();
    let letters = hash.iter().take(16).map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "AKIA".chars().chain(letters).collect()
}

fn long_lived(account: &str) -> Caller {
    Caller {
        account: account.to_owned(),
        arn: format!("arn:aws:iam::{account}:user/panda"),
        user_id: format!("AIDAPANDA{account}"),
    }
}

/// Access key id and region of `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
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

/// `length` random capitals and digits, as ids of AWS are made of.
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
    fn the_key_in_the_header_names_the_account() {
        let accounts = Accounts::new(None);
        for (keys, account) in [(&accounts.user, USER_ACCOUNT), (&accounts.controller, CONTROLLER_ACCOUNT)] {
            let caller = accounts.authenticate(&signed(&keys.access_key_id, REGION)).unwrap();
            assert_eq!(caller.account, account);
            assert!(!format!("{caller:?}").contains(&keys.access_key_id), "who calls is no secret, the key is");
        }
    }

    #[test]
    fn keys_are_those_of_the_seed_and_otherwise_nobody_knows_them() {
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
    fn no_header_an_unknown_key_and_another_region_are_refused() {
        let accounts = Accounts::new(None);
        assert_eq!(accounts.authenticate(&HeaderMap::new()), Err(AuthError::Missing));
        assert_eq!(accounts.authenticate(&signed("AKIAPANDAUSER0000001", REGION)), Err(AuthError::UnknownKey));
        let elsewhere = signed(&accounts.user.access_key_id, "us-east-1");
        assert_eq!(accounts.authenticate(&elsewhere), Err(AuthError::WrongRegion));
    }

    #[test]
    fn a_session_needs_its_own_token() {
        let accounts = Accounts::new(None);
        let (key, _, token) = accounts.open_session(long_lived(USER_ACCOUNT));
        let mut headers = signed(&key, REGION);
        assert_eq!(accounts.authenticate(&headers), Err(AuthError::UnknownKey));
        headers.insert("x-amz-security-token", token.parse().unwrap());
        assert_eq!(accounts.authenticate(&headers).unwrap().account, USER_ACCOUNT);
    }
}
