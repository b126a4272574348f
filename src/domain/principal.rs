//! Principals and callers: roles, scopes, authentication methods and the origin of a request.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::message::{Message, message};
use super::permission_basis::Basis;
use super::token::SecretHash;
use super::validate;

/// Maximum number of repositories in one scope.
const MAX_REPOSITORIES: usize = 100;

/// Subject of every caller while authentication is off.
pub const NOBODY: &str = "nobody";

/// Permissions of a principal. Each role includes the permissions of the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = Message, parse_err_fn = unknown_role)]
pub enum Role {
    /// May read everything in its scope.
    Viewer,
    /// May also connect, deploy, cancel and retry.
    Deployer,
    /// May also move traffic: switch, and cancel or retry a deployment during its switch.
    Approver,
    /// May also read the audit log and administer the installation.
    Admin,
}

impl Role {
    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the role that may cancel or retry a deployment: once its switch was requested, either moves traffic.
    pub fn to_cancel_or_retry(switch_requested: bool) -> Self {
        if switch_requested { Self::Approver } else { Self::Deployer }
    }
}

fn unknown_role(text: &str) -> Message {
    message!("rule.role", value = format!("{text:?}"))
}

/// Repositories that a principal can see. For the principal, everything outside the scope does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every repository of the installation.
    All,
    /// Repositories as `owner/repo` or `owner/*`, in lower case because GitHub ignores case. Never empty.
    Repositories(Vec<String>),
}

impl Scope {
    /// Creates the scope of these repositories, each `owner/repo` or `owner/*`.
    ///
    /// # Errors
    /// The rule that a name breaks, or that there are none or too many names.
    pub fn of(repositories: &[String]) -> Result<Self, Message> {
        let mut scope = Vec::new();
        for name in repositories {
            let (owner, repo) =
                name.split_once('/').ok_or_else(|| message!("rule.scope_name", name = format!("{name:?}")))?;
            let broken = |rule: Message| message!("rule.scope_part", name = format!("{name:?}"), rule);
            validate::owner(owner).map_err(broken)?;
            if repo != "*" {
                validate::repo(repo).map_err(broken)?;
            }
            scope.push(name.to_ascii_lowercase());
        }
        scope.sort_unstable();
        scope.dedup();
        match scope.len() {
            1..=MAX_REPOSITORIES => Ok(Self::Repositories(scope)),
            _ => Err(message!("rule.scope_size", max = MAX_REPOSITORIES)),
        }
    }

    /// Returns true if the scope contains the repository.
    pub fn holds(&self, owner: &str, repo: &str) -> bool {
        let Self::Repositories(names) = self else { return true };
        names.iter().any(|name| {
            name.split_once('/').is_some_and(|(known, of)| {
                known.eq_ignore_ascii_case(owner) && (of == "*" || of.eq_ignore_ascii_case(repo))
            })
        })
    }

    /// Returns true if the scope contains all repositories of `other`.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Repositories(_), Self::All) => false,
            // A repository cannot be named `*`, so only owner/* contains owner/*.
            (Self::Repositories(_), Self::Repositories(names)) => {
                names.iter().all(|name| name.split_once('/').is_some_and(|(owner, repo)| self.holds(owner, repo)))
            }
        }
    }

    /// Returns the repositories as one text, which is equal for equal scopes: `*`, or the names in order, without names that an `owner/*`
    /// covers.
    pub fn canonical(&self) -> String {
        let Self::Repositories(names) = self else { return "*".to_owned() };
        let names: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let covered = |name: &String| {
            name.split_once('/').is_some_and(|(owner, repo)| repo != "*" && names.contains(&format!("{owner}/*")))
        };
        names.iter().filter(|name| !covered(name)).cloned().collect::<Vec<_>>().join(",")
    }

    /// Converts to the database's form; none means all repositories.
    pub fn sql(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Repositories(names) => Some(names),
        }
    }

    /// Converts from the database's form; none means all repositories.
    pub fn from_sql(names: Option<Vec<String>>) -> Self {
        names.map_or(Self::All, Self::Repositories)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Repositories(names) => f.write_str(&names.join(", ")),
        }
    }
}

/// Method by which a principal was authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum AuthMethod {
    /// API token with this id.
    Token(String),
    /// Bearer token of an OpenID Connect issuer.
    Oidc,
    /// Admin token that the server was started with.
    Admin,
    /// No authentication, because it is switched off.
    Nobody,
    /// No authentication: an operator's command line works on the database directly.
    Operator,
    /// No authentication: a due schedule acts with its owner's role and scope.
    Schedule,
    /// No authentication: a push hook acts with its owner's scope, because GitHub signed a push.
    Hook,
    /// No authentication: the policy of a deployment's target switches it.
    Policy,
}

impl AuthMethod {
    /// Returns the name used in audit rows and answers.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// An authenticated person or program, with its permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Name of the principal: a token's name, or issuer and subject of an OpenID Connect token.
    pub subject: String,
    /// Method by which the principal was authenticated.
    pub kind: AuthMethod,
    /// Role that limits the principal's actions.
    pub role: Role,
    /// Repositories that the principal can see.
    pub scope: Scope,
    /// Expiry of the credential; none if only revocation ends it.
    pub expires_at: Option<DateTime<Utc>>,
    /// Basis of the permission, stored with schedules that act later in the principal's name. Sessions store it in separate columns.
    #[serde(skip)]
    pub basis: Basis,
}

impl Principal {
    /// Returns the principal of every caller while authentication is off: it may do everything.
    pub fn without_authentication() -> Self {
        let (role, scope) = (Role::Admin, Scope::All);
        Self { subject: NOBODY.to_owned(), kind: AuthMethod::Nobody, role, scope, expires_at: None, basis: Basis::Kind }
    }

    /// Returns the principal of the admin token with this fingerprint.
    pub fn admin(fingerprint: SecretHash) -> Self {
        let (subject, basis) = ("admin".to_owned(), Basis::Admin(fingerprint));
        Self { subject, kind: AuthMethod::Admin, basis, ..Self::without_authentication() }
    }

    /// Reduces the role to viewer: for sessions that may only read, and for requests of pages of other origins.
    #[must_use]
    pub fn reading(self) -> Self {
        Self { role: Role::Viewer, ..self }
    }

    /// Returns the subject; none while authentication is off, when all callers share one.
    pub fn known_subject(&self) -> Option<&str> {
        (self.kind != AuthMethod::Nobody).then_some(self.subject.as_str())
    }
}

/// Origin of a request: principal, request id and address.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Authenticated principal that makes the request.
    pub principal: Arc<Principal>,
    /// Id of the request in the log and in the answer.
    pub request_id: String,
    /// IP address of the client.
    pub address: IpAddr,
}

impl Caller {
    /// Returns the caller of work that the program itself starts, without authentication.
    pub fn local() -> Self {
        let principal = Arc::new(Principal::without_authentication());
        Self { principal, request_id: String::new(), address: Ipv4Addr::LOCALHOST.into() }
    }

    /// Returns the caller of a command that works on the database directly, named after the operating system's user.
    pub fn operator(name: String) -> Self {
        let principal = Principal { subject: name, kind: AuthMethod::Operator, ..Principal::without_authentication() };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// Returns the caller for a run of the schedule `id`, with its owner's role and scope.
    pub fn schedule(id: &str, role: Role, scope: Scope) -> Self {
        let principal = Principal {
            subject: schedule_subject(id),
            kind: AuthMethod::Schedule,
            role,
            scope,
            ..Principal::without_authentication()
        };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// Returns the caller for a push that the push hook `id` received: a deployer with its owner's scope.
    pub fn push_hook(id: &str, scope: Scope) -> Self {
        let principal = Principal {
            subject: push_hook_subject(id),
            kind: AuthMethod::Hook,
            role: Role::Deployer,
            scope,
            ..Principal::without_authentication()
        };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// Returns the caller for an automatic switch, which the policy of a target permits.
    pub fn policy() -> Self {
        let subject = POLICY_SUBJECT.to_owned();
        let role = Role::Approver;
        let principal = Principal { subject, kind: AuthMethod::Policy, role, ..Principal::without_authentication() };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// Returns the scope of the principal.
    pub fn scope(&self) -> &Scope {
        &self.principal.scope
    }
}

/// Subject of automatic switches. No token can have it, because the prefix `policy:` has no other use.
const POLICY_SUBJECT: &str = "policy:auto-switch";

/// Longest name of an API token, in characters.
const MAX_TOKEN_NAME: usize = 100;

/// Prefixes that no token's name may have.
const RESERVED: [&str; 2] = [SCHEDULE_SUBJECT, PUSH_HOOK_SUBJECT];

/// Checks the name of an API token. It must not be that of a schedule or push hook, because four-eyes approval compares names.
///
/// # Errors
/// The rule that it breaks.
pub fn token_name(value: &str) -> Result<(), Message> {
    let ok = (1..=MAX_TOKEN_NAME).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+:/".contains(&byte))
        && !RESERVED.iter().any(|prefix| value.starts_with(prefix));
    if ok { Ok(()) } else { Err(message!("rule.token_name", max = MAX_TOKEN_NAME, reserved = RESERVED.join(", "))) }
}

/// Prefix of the subjects of schedules. No token's name may begin with it, because four-eyes approval compares subjects.
pub const SCHEDULE_SUBJECT: &str = "schedule:";

/// Returns the subject of a schedule's actions.
pub fn schedule_subject(id: &str) -> String {
    format!("{SCHEDULE_SUBJECT}{id}")
}

/// Prefix of the subjects of push hooks, as [`SCHEDULE_SUBJECT`].
pub const PUSH_HOOK_SUBJECT: &str = "hook:";

/// Returns the subject of a push hook's actions.
pub fn push_hook_subject(id: &str) -> String {
    format!("{PUSH_HOOK_SUBJECT}{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(names: &[&str]) -> Scope {
        Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn scope_ignores_case_and_holds_no_other_repository() {
        let some = scope(&["Acme/Shop", "toys/*"]);
        assert!(some.holds("acme", "shop") && some.holds("ACME", "SHOP") && some.holds("toys", "any"));
        for (owner, repo) in
            [("acme", "shop2"), ("acme", "sho"), ("acme2", "shop"), ("acme", "*"), ("shop", "acme"), ("", "")]
        {
            assert!(!some.holds(owner, repo), "{owner}/{repo}");
        }
        assert!(Scope::All.holds("acme", "shop"));
    }

    #[test]
    fn scope_includes_smaller_scopes_only() {
        assert!(scope(&["acme/*"]).includes(&scope(&["acme/shop", "acme/*"])));
        assert!(!scope(&["acme/shop"]).includes(&scope(&["acme/*"])));
        assert!(!scope(&["acme/*"]).includes(&Scope::All) && Scope::All.includes(&scope(&["acme/*"])));
    }

    #[test]
    fn rejects_names_of_no_repository() {
        for name in ["acme", "acme/", "/shop", "*/*", "*/shop", "acme/shop/x", "acme/..", "ac me/shop", "acme/sh*"] {
            assert!(Scope::of(&[name.to_owned()]).is_err(), "{name}");
        }
        assert!(Scope::of(&[]).is_err(), "nothing is not everything");
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Viewer < Role::Deployer && Role::Deployer < Role::Approver && Role::Approver < Role::Admin);
        assert_eq!("approver".parse::<Role>().unwrap(), Role::Approver);
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("approver"));
    }
}
