//! What acts later in a principal's name, and whether the permission that it acts with still exists.
//!
//! A schedule keeps what its owner signed in with. Before each run, and every minute in between, that is held against what the server
//! accepts now: a token must not be revoked, expired or reduced; the admin token must be the present one; the issuer and its rules must
//! still give the subject of an OpenID Connect token what the schedule does. The times of such a token say nothing about its subject: it
//! lasts minutes. What has ended does not come back by itself: another caller has to take the schedule over.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::claims::Issuer;
use super::principal::{Role, Scope};
use super::token::SecretHash;

/// Claims that are different in each token of the same subject, and name no right.
const PASSING_CLAIMS: [&str; 7] = ["exp", "iat", "nbf", "jti", "nonce", "at_hash", "auth_time"];

/// The subject of an OpenID Connect token, with the claims that its issuer vouched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The issuer, as the configuration names it.
    pub issuer: String,
    /// All claims but those that pass. As large as a token at most.
    pub claims: Map<String, Value>,
}

impl Identity {
    /// With these claims of a token whose signature was checked.
    pub fn new(issuer: &str, mut claims: Map<String, Value>) -> Self {
        claims.retain(|name, _| !PASSING_CLAIMS.contains(&name.as_str()));
        Self { issuer: issuer.to_owned(), claims }
    }
}

/// What a principal's right rests on, where its kind does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// On what its kind names: an API token by its id, or nothing.
    #[default]
    Kind,
    /// On the admin token with this fingerprint.
    Admin(SecretHash),
    /// On the rules for the subject of an OpenID Connect token.
    Oidc(Arc<Identity>),
}

/// How the API token stands that a permission rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It has no row any more.
    Removed,
    /// It was revoked.
    Revoked,
    /// Its time is up.
    Expired,
    /// It gives this.
    Valid(Role, Scope),
}

/// A permission as it was stored with what acts by it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The principal's subject.
    pub subject: String,
    /// How it had signed in.
    pub on: HeldOn,
    /// The role that it had.
    pub role: Role,
    /// The repositories that it saw.
    pub scope: Scope,
}

/// What a stored permission rests on.
#[derive(Clone, Debug)]
pub enum HeldOn {
    /// This API token.
    Token(String, TokenState),
    /// The admin token with this fingerprint; none from before fingerprints were kept.
    Admin(Option<SecretHash>),
    /// The subject of an OpenID Connect token.
    Oidc {
        /// None from before claims were kept: only the issuer can be held against the configuration then.
        identity: Option<Identity>,
        /// Whether the subject is revoked.
        revoked: bool,
    },
    /// That no sign-in was required.
    Nobody,
}

/// Why a permission does not exist any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The API token was revoked.
    TokenRevoked(String),
    /// The API token has expired.
    TokenExpired(String),
    /// The API token is not there any more.
    TokenRemoved(String),
    /// The API token, or the issuer's rules, give less than was given then.
    Reduced(String),
    /// The admin token is another one, or there is none any more.
    AdminTokenReplaced,
    /// The subject was revoked.
    SubjectRevoked(String),
    /// The issuer is not trusted any more.
    IssuerRemoved(String),
    /// It was made while no sign-in was required.
    SignInRequired,
}

impl Ended {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenRevoked(_) => "TOKEN_REVOKED",
            Self::TokenExpired(_) => "TOKEN_EXPIRED",
            Self::TokenRemoved(_) => "TOKEN_REMOVED",
            Self::Reduced(_) => "PERMISSION_REDUCED",
            Self::AdminTokenReplaced => "ADMIN_TOKEN_REPLACED",
            Self::SubjectRevoked(_) => "SUBJECT_REVOKED",
            Self::IssuerRemoved(_) => "ISSUER_REMOVED",
            Self::SignInRequired => "SIGN_IN_REQUIRED",
        }
    }

    /// All codes.
    pub const CODES: [&'static str; 8] = [
        "TOKEN_REVOKED",
        "TOKEN_EXPIRED",
        "TOKEN_REMOVED",
        "PERMISSION_REDUCED",
        "ADMIN_TOKEN_REPLACED",
        "SUBJECT_REVOKED",
        "ISSUER_REMOVED",
        "SIGN_IN_REQUIRED",
    ];

    /// In words, with the remedy.
    pub fn message(&self) -> String {
        let cause = match self {
            Self::TokenRevoked(id) => format!("The API token {id} that this schedule belongs to was revoked."),
            Self::TokenExpired(id) => format!("The API token {id} that this schedule belongs to has expired."),
            Self::TokenRemoved(id) => {
                format!("The API token {id} that this schedule belongs to does not exist any more.")
            }
            Self::Reduced(subject) => {
                format!(
                    "{subject}, who this schedule belongs to, no longer has the role or the repositories that it was made with."
                )
            }
            Self::AdminTokenReplaced => "The admin token that this schedule was made with was replaced.".to_owned(),
            Self::SubjectRevoked(subject) => format!("{subject}, who this schedule belongs to, was revoked."),
            Self::IssuerRemoved(subject) => {
                format!("The issuer of {subject}, who this schedule belongs to, is not trusted any more.")
            }
            Self::SignInRequired => {
                "This schedule was made while the server required no sign-in; now it does.".to_owned()
            }
        };
        format!("{cause} The schedule has stopped: take it over with `panda schedule adopt` or another change.")
    }
}

/// Who the server lets in, as far as it decides whether a permission still exists.
#[derive(Clone, Debug, Default)]
pub struct SignIn {
    /// Whether callers have to sign in. Where they do not, everybody may everything, and no configuration ends a permission.
    pub required: bool,
    /// Fingerprint of the admin token.
    pub admin: Option<SecretHash>,
    /// The issuers whose tokens are accepted.
    pub issuers: Arc<[Issuer]>,
}

impl SignIn {
    /// The same for replicas with the same configuration, another one otherwise. Tells nothing about the admin token.
    pub fn fingerprint(&self) -> SecretHash {
        let issuers = serde_json::to_vec(&*self.issuers).unwrap_or_default();
        let admin = self.admin.as_ref().map_or(&[][..], SecretHash::bytes);
        let mut digest = Sha256::new();
        for part in [&[u8::from(self.required)][..], admin, &issuers] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        SecretHash::from_digest(digest.finalize().into())
    }

    /// Why the permission does not exist any more; none while it does.
    pub fn ended(&self, held: &Held) -> Option<Ended> {
        let enough = |role: Role, scope: &Scope| role >= held.role && scope.includes(&held.scope);
        match &held.on {
            HeldOn::Token(id, TokenState::Removed) => Some(Ended::TokenRemoved(id.clone())),
            HeldOn::Token(id, TokenState::Revoked) => Some(Ended::TokenRevoked(id.clone())),
            HeldOn::Token(id, TokenState::Expired) => Some(Ended::TokenExpired(id.clone())),
            HeldOn::Token(_, TokenState::Valid(role, scope)) => {
                (!enough(*role, scope)).then(|| Ended::Reduced(held.subject.clone()))
            }
            HeldOn::Oidc { revoked: true, .. } => Some(Ended::SubjectRevoked(held.subject.clone())),
            _ if !self.required => None,
            HeldOn::Nobody => Some(Ended::SignInRequired),
            HeldOn::Admin(fingerprint) => match (fingerprint, &self.admin) {
                (Some(then), Some(now)) if then.is(now) => None,
                // From before fingerprints were kept: it belongs to the bearer of the present admin token.
                (None, Some(_)) => None,
                _ => Some(Ended::AdminTokenReplaced),
            },
            HeldOn::Oidc { identity: Some(identity), .. } => {
                let Some(issuer) = self.issuers.iter().find(|issuer| issuer.issuer == identity.issuer) else {
                    return Some(Ended::IssuerRemoved(held.subject.clone()));
                };
                let given = issuer.is_for(&identity.claims).then(|| issuer.right(&identity.claims)).flatten();
                let gives_enough = given.is_some_and(|(role, scope)| enough(role, &scope));
                (!gives_enough).then(|| Ended::Reduced(held.subject.clone()))
            }
            HeldOn::Oidc { identity: None, .. } => {
                let known = self.issuers.iter().any(|issuer| issuer.subject_has(&held.subject));
                (!known).then(|| Ended::IssuerRemoved(held.subject.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claims;
    use serde_json::json;

    fn issuers(rules: &Value) -> Arc<[Issuer]> {
        let file = json!([{"issuer": "https://issuer.example", "audiences": ["panda"], "rules": rules}]);
        claims::parse(&file.to_string()).unwrap().into()
    }

    fn sign_in(rules: &Value) -> SignIn {
        SignIn { required: true, admin: Some(SecretHash::of("one").fingerprint()), issuers: issuers(rules) }
    }

    fn held(on: HeldOn) -> Held {
        let scope = Scope::of(&["acme/shop".to_owned()]).unwrap();
        Held { subject: "issuer.example|sub".to_owned(), on, role: Role::Deployer, scope }
    }

    fn identity(issuer: &str, claims: Value) -> HeldOn {
        let Value::Object(claims) = claims else { panic!("no object") };
        HeldOn::Oidc { identity: Some(Identity::new(issuer, claims)), revoked: false }
    }

    fn code(sign_in: &SignIn, on: HeldOn) -> Option<&'static str> {
        sign_in.ended(&held(on)).map(|ended| ended.code())
    }

    #[test]
    fn a_token_ends_with_its_row_its_time_or_less_of_a_right() {
        let now = sign_in(&json!([{"claims": {"sub": "x"}, "role": "viewer"}]));
        let of = |state| code(&now, HeldOn::Token("tok_1".to_owned(), state));
        let shop = |role| TokenState::Valid(role, Scope::of(&["acme/*".to_owned()]).unwrap());
        assert_eq!(of(shop(Role::Deployer)), None);
        assert_eq!(of(TokenState::Valid(Role::Admin, Scope::All)), None);
        assert_eq!(of(shop(Role::Viewer)), Some("PERMISSION_REDUCED"));
        let toys = Scope::of(&["toys/*".to_owned()]).unwrap();
        assert_eq!(of(TokenState::Valid(Role::Admin, toys)), Some("PERMISSION_REDUCED"));
        assert_eq!(of(TokenState::Revoked), Some("TOKEN_REVOKED"));
        assert_eq!(of(TokenState::Expired), Some("TOKEN_EXPIRED"));
        assert_eq!(of(TokenState::Removed), Some("TOKEN_REMOVED"));
    }

    #[test]
    fn the_admin_token_is_the_present_one_or_its_schedules_end() {
        let mut now = sign_in(&json!([{"claims": {"sub": "x"}, "role": "viewer"}]));
        let then = |token: &str| HeldOn::Admin(Some(SecretHash::of(token).fingerprint()));
        assert_eq!(code(&now, then("one")), None);
        assert_eq!(code(&now, then("two")), Some("ADMIN_TOKEN_REPLACED"));
        assert_eq!(code(&now, HeldOn::Admin(None)), None);
        assert_eq!(code(&now, HeldOn::Nobody), Some("SIGN_IN_REQUIRED"));
        now.admin = None;
        assert_eq!(code(&now, then("one")), Some("ADMIN_TOKEN_REPLACED"));
        assert_eq!(code(&now, HeldOn::Admin(None)), Some("ADMIN_TOKEN_REPLACED"));
        now.required = false;
        assert_eq!((code(&now, then("one")), code(&now, HeldOn::Nobody)), (None, None));
    }

    #[test]
    fn a_subject_ends_by_revocation_or_with_its_issuer_audience_rule_or_repository() {
        let rule = json!([{"claims": {"ref": "main"}, "role": "deployer", "repositories": ["{repository}"]}]);
        let now = sign_in(&rule);
        let claims =
            json!({"aud": "panda", "sub": "sub", "ref": "main", "repository": "acme/shop", "exp": 7, "jti": "x"});
        let of = |now: &SignIn, claims: Value| code(now, identity("https://issuer.example", claims));
        assert_eq!(of(&now, claims.clone()), None, "whatever the token's own end");
        assert_eq!(code(&now, identity("https://other.example", claims.clone())), Some("ISSUER_REMOVED"));
        let without = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            claims
        };
        for (name, value) in [("aud", json!("other")), ("ref", json!("evil")), ("repository", json!("acme/toys"))] {
            assert_eq!(of(&now, without(name, value)), Some("PERMISSION_REDUCED"), "{name}");
        }
        let less = sign_in(&json!([{"claims": {"ref": "main"}, "role": "viewer", "repositories": ["{repository}"]}]));
        assert_eq!(of(&less, claims.clone()), Some("PERMISSION_REDUCED"));
        let revoked = HeldOn::Oidc { identity: None, revoked: true };
        assert_eq!(code(&SignIn::default(), revoked), Some("SUBJECT_REVOKED"), "wherever");
        let old = || HeldOn::Oidc { identity: None, revoked: false };
        assert_eq!(code(&now, old()), None);
        assert_eq!(code(&SignIn { required: true, ..SignIn::default() }, old()), Some("ISSUER_REMOVED"));
    }

    #[test]
    fn another_configuration_has_another_fingerprint_and_codes_are_complete() {
        let rule = json!([{"claims": {"ref": "main"}, "role": "deployer"}]);
        let one = sign_in(&rule);
        assert_eq!(one.fingerprint(), sign_in(&rule).fingerprint());
        let other = sign_in(&json!([{"claims": {"ref": "main"}, "role": "viewer"}]));
        let admin = SignIn { admin: None, ..one.clone() };
        let off = SignIn { required: false, ..one.clone() };
        for changed in [other, admin, off] {
            assert_ne!(changed.fingerprint(), one.fingerprint());
        }
        let all = [
            Ended::TokenRevoked("x".into()),
            Ended::TokenExpired("x".into()),
            Ended::TokenRemoved("x".into()),
            Ended::Reduced("x".into()),
            Ended::AdminTokenReplaced,
            Ended::SubjectRevoked("x".into()),
            Ended::IssuerRemoved("x".into()),
            Ended::SignInRequired,
        ];
        assert_eq!(all.map(|ended| ended.code()), Ended::CODES);
    }
}
