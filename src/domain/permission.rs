//! Stored permissions of schedules, which act later in their owner's name, and the check that the permission still exists.
//!
//! A schedule stores the credential's basis with which its owner signed in. Before each run, and every minute in between, Panda compares
//! it with what the server accepts now: a token must not be revoked, expired or reduced; the admin token must be the current one; the
//! issuer and its rules must still give the subject of an OpenID Connect token what the schedule does. The expiry of such a token does not
//! count: it lasts minutes and says nothing about its subject. An ended permission never becomes valid again by itself: another caller
//! has to take the schedule over.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::message::{Message, message};
use super::oidc_claims::Issuer;
use super::permission_basis::Identity;
use super::principal::{Role, Scope};
use super::token::SecretHash;

/// Current state of the API token that a permission is based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// The token's row was deleted.
    Removed,
    /// The token was revoked.
    Revoked,
    /// The token has expired.
    Expired,
    /// The token gives this role and scope.
    Valid(Role, Scope),
}

/// Permission of a schedule's owner, as stored with the schedule.
#[derive(Clone, Debug)]
pub struct StoredPermission {
    /// Subject of the owner.
    pub subject: String,
    /// Basis of the permission, with its current state.
    pub on: StoredBasis,
    /// Role that the owner had.
    pub role: Role,
    /// Repositories that the owner could see.
    pub scope: Scope,
}

/// Basis of a stored permission.
#[derive(Clone, Debug)]
pub enum StoredBasis {
    /// The API token with this id.
    Token(String, TokenState),
    /// The admin token with this fingerprint.
    Admin(SecretHash),
    /// The subject of an OpenID Connect token.
    Oidc {
        /// Claims of the subject.
        identity: Identity,
        /// True if the subject is revoked.
        revoked: bool,
    },
    /// No sign-in was required at the time.
    Nobody,
}

/// Reason for the end of a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionEnd {
    /// The API token with this id was revoked.
    TokenRevoked(String),
    /// The API token with this id has expired.
    TokenExpired(String),
    /// The API token with this id was deleted.
    TokenRemoved(String),
    /// The API token, or the issuer's rules, now give this subject less than the schedule needs.
    Reduced(String),
    /// The admin token was replaced or removed.
    AdminTokenReplaced,
    /// This subject was revoked.
    SubjectRevoked(String),
    /// The issuer of this subject is no longer configured.
    IssuerRemoved(String),
    /// The schedule was created while no sign-in was required.
    SignInRequired,
}

impl PermissionEnd {
    /// Returns the stable code for clients.
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

    /// Every code, in order of declaration.
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

    /// Returns a message for people, with the remedy.
    pub fn message(&self) -> Message {
        let cause = match self {
            Self::TokenRevoked(id) => message!("schedule.token_revoked", id),
            Self::TokenExpired(id) => message!("schedule.token_expired", id),
            Self::TokenRemoved(id) => message!("schedule.token_removed", id),
            Self::Reduced(subject) => message!("schedule.reduced", subject),
            Self::AdminTokenReplaced => message!("schedule.admin_token_replaced"),
            Self::SubjectRevoked(subject) => message!("schedule.subject_revoked", subject),
            Self::IssuerRemoved(subject) => message!("schedule.issuer_removed", subject),
            Self::SignInRequired => message!("schedule.sign_in_required"),
        };
        message!("schedule.stopped", cause)
    }
}

/// Sign-in configuration of the server, which decides if a stored permission still exists.
#[derive(Clone, Debug, Default)]
pub struct SignIn {
    /// True if callers must sign in. Otherwise every caller may do everything, and no configuration ends a permission.
    pub required: bool,
    /// Fingerprint of the configured admin token.
    pub admin: Option<SecretHash>,
    /// Issuers whose tokens are accepted.
    pub issuers: Arc<[Issuer]>,
}

impl SignIn {
    /// Returns a hash that is equal for replicas with the same configuration, and different otherwise. Reveals nothing about the admin
    /// token.
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

    /// Returns the reason why the permission has ended; none while it exists.
    pub fn ended(&self, held: &StoredPermission) -> Option<PermissionEnd> {
        let enough = |role: Role, scope: &Scope| role >= held.role && scope.includes(&held.scope);
        match &held.on {
            StoredBasis::Token(id, TokenState::Removed) => Some(PermissionEnd::TokenRemoved(id.clone())),
            StoredBasis::Token(id, TokenState::Revoked) => Some(PermissionEnd::TokenRevoked(id.clone())),
            StoredBasis::Token(id, TokenState::Expired) => Some(PermissionEnd::TokenExpired(id.clone())),
            StoredBasis::Token(_, TokenState::Valid(role, scope)) => {
                (!enough(*role, scope)).then(|| PermissionEnd::Reduced(held.subject.clone()))
            }
            StoredBasis::Oidc { revoked: true, .. } => Some(PermissionEnd::SubjectRevoked(held.subject.clone())),
            _ if !self.required => None,
            StoredBasis::Nobody => Some(PermissionEnd::SignInRequired),
            StoredBasis::Admin(then) => {
                let is_current = self.admin.as_ref().is_some_and(|now| then.is(now));
                (!is_current).then_some(PermissionEnd::AdminTokenReplaced)
            }
            StoredBasis::Oidc { identity, .. } => {
                let Some(issuer) = self.issuers.iter().find(|issuer| issuer.issuer == identity.issuer) else {
                    return Some(PermissionEnd::IssuerRemoved(held.subject.clone()));
                };
                let given = issuer.is_for(&identity.claims).then(|| issuer.right(&identity.claims)).flatten();
                let gives_enough = given.is_some_and(|(role, scope)| enough(role, &scope));
                (!gives_enough).then(|| PermissionEnd::Reduced(held.subject.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::oidc_claims;
    use serde_json::{Value, json};

    fn issuers(rules: &Value) -> Arc<[Issuer]> {
        let file = json!([{"issuer": "https://issuer.example", "audiences": ["panda"], "rules": rules}]);
        oidc_claims::parse(&file.to_string()).unwrap().into()
    }

    fn sign_in(rules: &Value) -> SignIn {
        SignIn { required: true, admin: Some(SecretHash::of("one").fingerprint()), issuers: issuers(rules) }
    }

    fn held(on: StoredBasis) -> StoredPermission {
        let scope = Scope::of(&["acme/shop".to_owned()]).unwrap();
        StoredPermission { subject: "issuer.example|sub".to_owned(), on, role: Role::Deployer, scope }
    }

    fn identity(issuer: &str, claims: Value) -> StoredBasis {
        let Value::Object(claims) = claims else { panic!("no object") };
        StoredBasis::Oidc { identity: Identity::new(issuer, claims), revoked: false }
    }

    fn code(sign_in: &SignIn, on: StoredBasis) -> Option<&'static str> {
        sign_in.ended(&held(on)).map(|ended| ended.code())
    }

    #[test]
    fn token_permission_ends_on_removal_expiry_or_reduction() {
        let now = sign_in(&json!([{"claims": {"sub": "x"}, "role": "viewer"}]));
        let of = |state| code(&now, StoredBasis::Token("tok_1".to_owned(), state));
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
    fn admin_permission_ends_when_the_token_is_replaced() {
        let mut now = sign_in(&json!([{"claims": {"sub": "x"}, "role": "viewer"}]));
        let then = |token: &str| StoredBasis::Admin(SecretHash::of(token).fingerprint());
        assert_eq!(code(&now, then("one")), None);
        assert_eq!(code(&now, then("two")), Some("ADMIN_TOKEN_REPLACED"));
        assert_eq!(code(&now, StoredBasis::Nobody), Some("SIGN_IN_REQUIRED"));
        now.admin = None;
        assert_eq!(code(&now, then("one")), Some("ADMIN_TOKEN_REPLACED"));
        now.required = false;
        assert_eq!((code(&now, then("one")), code(&now, StoredBasis::Nobody)), (None, None));
    }

    #[test]
    fn subject_permission_ends_with_revocation_issuer_or_rule() {
        let rule = json!([{"claims": {"ref": "main"}, "role": "deployer", "repositories": ["{repository}"]}]);
        let now = sign_in(&rule);
        let claims =
            json!({"aud": "panda", "sub": "sub", "ref": "main", "repository": "acme/shop", "exp": 7, "jti": "x"});
        let of = |now: &SignIn, claims: Value| code(now, identity("https://issuer.example", claims));
        assert_eq!(of(&now, claims.clone()), None, "regardless of the token's own expiry");
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
        let StoredBasis::Oidc { identity, .. } = identity("https://issuer.example", claims) else {
            panic!("no OpenID")
        };
        let revoked = StoredBasis::Oidc { identity, revoked: true };
        assert_eq!(code(&SignIn::default(), revoked), Some("SUBJECT_REVOKED"), "even without sign-in");
    }

    #[test]
    fn fingerprint_depends_on_the_configuration_and_codes_are_complete() {
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
            PermissionEnd::TokenRevoked("x".into()),
            PermissionEnd::TokenExpired("x".into()),
            PermissionEnd::TokenRemoved("x".into()),
            PermissionEnd::Reduced("x".into()),
            PermissionEnd::AdminTokenReplaced,
            PermissionEnd::SubjectRevoked("x".into()),
            PermissionEnd::IssuerRemoved("x".into()),
            PermissionEnd::SignInRequired,
        ];
        assert_eq!(all.map(|ended| ended.code()), PermissionEnd::CODES);
    }
}
