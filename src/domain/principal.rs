//! Who asks, and what they may: roles, scopes, and where a request came from.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::permission::Basis;
use super::token::SecretHash;
use super::validate;

/// Most repositories of one scope.
const MAX_REPOSITORIES: usize = 100;

/// What somebody may do: each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Connects, deploys, cancels and retries.
    Deployer,
    /// Moves traffic: switches, and cancels or retries what is being switched.
    Approver,
    /// Reads the audit log.
    Admin,
}

impl Role {
    /// As it is stored and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let roles = [Self::Viewer, Self::Deployer, Self::Approver, Self::Admin];
        let role = roles.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| "there are the roles viewer, deployer, approver and admin".to_owned())
    }
}

/// Which repositories somebody sees. Whatever is not in it is as if it were not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All.
    All,
    /// These: `owner/repo` or `owner/*`, in lower case, since GitHub ignores case. Never empty.
    Repositories(Vec<String>),
}

impl Scope {
    /// The scope of these repositories, each `owner/repo` or `owner/*`.
    ///
    /// # Errors
    /// What is wrong with one of them, or that there are none or too many.
    pub fn of(repositories: &[String]) -> Result<Self, String> {
        let mut scope = Vec::new();
        for name in repositories {
            let (owner, repo) = name
                .split_once('/')
                .ok_or_else(|| format!("{name:?}: give owner/repo, or owner/* for all of one owner"))?;
            validate::owner(owner).map_err(|rule| format!("{name:?}: {rule}"))?;
            if repo != "*" {
                validate::repo(repo).map_err(|rule| format!("{name:?}: {rule}"))?;
            }
            scope.push(name.to_ascii_lowercase());
        }
        scope.sort_unstable();
        scope.dedup();
        match scope.len() {
            1..=MAX_REPOSITORIES => Ok(Self::Repositories(scope)),
            _ => Err(format!("give 1 to {MAX_REPOSITORIES} repositories")),
        }
    }

    /// Whether it has this repository.
    pub fn holds(&self, owner: &str, repo: &str) -> bool {
        let Self::Repositories(names) = self else { return true };
        names.iter().any(|name| {
            name.split_once('/').is_some_and(|(known, of)| {
                known.eq_ignore_ascii_case(owner) && (of == "*" || of.eq_ignore_ascii_case(repo))
            })
        })
    }

    /// Whether it has all that `other` has.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Repositories(_), Self::All) => false,
            // A repository cannot be called `*`: only owner/* holds that.
            (Self::Repositories(_), Self::Repositories(names)) => {
                names.iter().all(|name| name.split_once('/').is_some_and(|(owner, repo)| self.holds(owner, repo)))
            }
        }
    }

    /// Its repositories as one text, the same for scopes that hold the same however they are written: `*`, or the names in order, without those
    /// that an `owner/*` covers.
    pub fn canonical(&self) -> String {
        let Self::Repositories(names) = self else { return "*".to_owned() };
        let names: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let covered = |name: &String| {
            name.split_once('/').is_some_and(|(owner, repo)| repo != "*" && names.contains(&format!("{owner}/*")))
        };
        names.iter().filter(|name| !covered(name)).cloned().collect::<Vec<_>>().join(",")
    }

    /// As the database has it: none for all.
    pub fn sql(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Repositories(names) => Some(names),
        }
    }

    /// From the database.
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

/// How somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// With the API token of this id.
    Token(String),
    /// With a bearer token of the OpenID Connect issuer.
    Oidc,
    /// With the admin token that the server was started with.
    Admin,
    /// Not at all: authentication is off.
    Nobody,
    /// Not at all: it is the command line, on the database itself.
    Operator,
    /// Not at all: it is a schedule whose time has come, with the right of whoever answers for it.
    Schedule,
}

impl Kind {
    /// The kind in a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Oidc => "oidc",
            Self::Admin => "admin",
            Self::Nobody => "nobody",
            Self::Operator => "operator",
            Self::Schedule => "schedule",
        }
    }
}

/// Somebody who has signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Who: a token's name, or the issuer's name for a person or program.
    pub subject: String,
    /// How they signed in.
    pub kind: Kind,
    /// What they may.
    pub role: Role,
    /// What they see.
    pub scope: Scope,
    /// When their right ends; none when it does so only by being revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// What their right rests on: kept with what acts later in their name. Not with a session, which may only read.
    #[serde(skip)]
    pub basis: Basis,
}

impl Principal {
    /// Whoever asks while authentication is off: they may everything.
    pub fn nobody() -> Self {
        let (role, scope) = (Role::Admin, Scope::All);
        Self { subject: "nobody".to_owned(), kind: Kind::Nobody, role, scope, expires_at: None, basis: Basis::Kind }
    }

    /// The bearer of the admin token, which has this fingerprint.
    pub fn admin(fingerprint: SecretHash) -> Self {
        let (subject, basis) = ("admin".to_owned(), Basis::Admin(fingerprint));
        Self { subject, kind: Kind::Admin, basis, ..Self::nobody() }
    }

    /// The same, with reading alone: what a cookie is for, so that no page elsewhere can change anything with it.
    #[must_use]
    pub fn reading(self) -> Self {
        Self { role: Role::Viewer, ..self }
    }

    /// The subject, where it is somebody: none while authentication is off.
    pub fn known_subject(&self) -> Option<&str> {
        (self.kind != Kind::Nobody).then_some(self.subject.as_str())
    }
}

/// Who asks, and how the request came.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// The id under which the log and the answer have the request.
    pub request_id: String,
    /// Where it came from.
    pub address: IpAddr,
}

impl Caller {
    /// Whoever is at the program itself, and not signed in.
    pub fn local() -> Self {
        let principal = Arc::new(Principal::nobody());
        Self { principal, request_id: String::new(), address: Ipv4Addr::LOCALHOST.into() }
    }

    /// Whoever runs a command on the database itself, by their name on this machine.
    pub fn operator(name: String) -> Self {
        let principal = Principal { subject: name, kind: Kind::Operator, ..Principal::nobody() };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// The schedule of this id, with the role and the scope of whoever answers for it.
    pub fn schedule(id: &str, role: Role, scope: Scope) -> Self {
        let principal =
            Principal { subject: schedule_subject(id), kind: Kind::Schedule, role, scope, ..Principal::nobody() };
        Self { principal: Arc::new(principal), ..Self::local() }
    }

    /// What they see.
    pub fn scope(&self) -> &Scope {
        &self.principal.scope
    }
}

/// How the subjects of schedules begin. No token may be called so: whoever has to be another than the starter is told by the subject.
pub const SCHEDULE_SUBJECT: &str = "schedule:";

/// The subject of what a schedule does.
pub fn schedule_subject(id: &str) -> String {
    format!("{SCHEDULE_SUBJECT}{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(names: &[&str]) -> Scope {
        Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_scope_holds_its_repositories_in_any_case_and_no_other() {
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
    fn a_scope_includes_smaller_ones_only() {
        assert!(scope(&["acme/*"]).includes(&scope(&["acme/shop", "acme/*"])));
        assert!(!scope(&["acme/shop"]).includes(&scope(&["acme/*"])));
        assert!(!scope(&["acme/*"]).includes(&Scope::All) && Scope::All.includes(&scope(&["acme/*"])));
    }

    #[test]
    fn what_names_no_repository_is_refused() {
        for name in ["acme", "acme/", "/shop", "*/*", "*/shop", "acme/shop/x", "acme/..", "ac me/shop", "acme/sh*"] {
            assert!(Scope::of(&[name.to_owned()]).is_err(), "{name}");
        }
        assert!(Scope::of(&[]).is_err(), "nothing is not everything");
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Viewer < Role::Deployer && Role::Deployer < Role::Approver && Role::Approver < Role::Admin);
        assert_eq!("approver".parse::<Role>().unwrap(), Role::Approver);
        assert!("root".parse::<Role>().unwrap_err().contains("approver"));
    }
}
