//! Claims of OpenID Connect tokens: the operator's issuers and rules, and the role and scope that matching claims give.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::principal::{Role, Scope};
use super::text;

/// Longest name of an issuer, in bytes.
const MAX_ISSUER: usize = 1_024;

/// Longest subject, in characters. Log and audit repeat subjects.
const MAX_SUBJECT: usize = 255;

/// Longest name of an issuer on the web page, in characters.
const MAX_NAME: usize = 60;

/// Separates issuer and subject in a subject's name. No issuer may contain it.
const SEPARATOR: char = '|';

/// A trusted issuer: its tokens may sign in, with the role and scope that its rules give.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Value of the tokens' claim `iss`, such as `https://token.actions.githubusercontent.com`.
    pub issuer: String,
    /// Accepted values of the claim `aud`. They keep a token that was issued for another service from being used here.
    pub audiences: Vec<String>,
    /// Rules in order: the first that matches gives role and scope. A token that matches none has no permission.
    pub rules: Vec<ClaimRule>,
    /// Sign-in of the web page with this issuer; absent: none.
    #[serde(default, rename = "signIn", skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInClient>,
}

/// Panda as a client of an issuer: the web page signs in with it (authorization code with PKCE).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignInClient {
    /// Client id that the issuer gave Panda, and the audience of its id tokens.
    pub client_id: String,
    /// File with the client's secret, read at each sign-in; absent for a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Scopes to request besides `openid`, such as `groups`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Name of the issuer on the page's button; its host when absent.
    #[serde(default)]
    pub name: Option<String>,
}

impl SignInClient {
    fn check(&self) -> Result<(), String> {
        let is_word = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word(&self.client_id) {
            return Err("clientId: give the visible ASCII characters that the issuer shows".to_owned());
        }
        if !self.scopes.iter().all(is_word) {
            return Err("scopes: give a list of names without spaces".to_owned());
        }
        if self
            .name
            .as_ref()
            .is_some_and(|name| text::cut(name, MAX_NAME) != *name || name.contains(text::is_unfit_for_names))
        {
            return Err(format!("name: give at most {MAX_NAME} printable characters"));
        }
        Ok(())
    }

    /// Returns the requested scopes, separated by spaces.
    pub fn scope(&self) -> String {
        let others = self.scopes.iter().map(String::as_str).filter(|&scope| scope != "openid");
        std::iter::once("openid").chain(others).collect::<Vec<_>>().join(" ")
    }
}

/// A rule that gives a role and a scope to tokens with certain claims.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// Required claims, each with its value or a list of accepted values; of a claim that is a list, one element must match. A name that
    /// begins with `/` is a JSON pointer: `/realm_access/roles`.
    pub claims: BTreeMap<String, Value>,
    /// Role of the token's bearer.
    pub role: Role,
    /// Repositories of the bearer's scope: `owner/repo`, `owner/*`, or `{claim}` for the repository that this claim names. Absent: all.
    #[serde(default)]
    pub repositories: Option<Vec<String>>,
}

/// Parses a file of issuers.
///
/// # Errors
/// The first mistake, with its path in the file.
pub fn parse(text: &str) -> Result<Vec<Issuer>, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let issuers: Vec<Issuer> =
        serde_path_to_error::deserialize(&mut json).map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
    json.end().map_err(|error| error.to_string())?;
    if issuers.is_empty() {
        return Err("there is no issuer".to_owned());
    }
    for (at, issuer) in issuers.iter().enumerate() {
        issuer.check().map_err(|wrong| format!("[{at}].{wrong}"))?;
        if issuers[..at].iter().any(|before| before.issuer == issuer.issuer) {
            return Err(format!("[{at}].issuer: is listed twice; merge the rules into one entry"));
        }
    }
    Ok(issuers)
}

impl Issuer {
    fn check(&self) -> Result<(), String> {
        if !is_issuer(&self.issuer) {
            return Err("issuer: must be an https address without a query (http only for this machine)".to_owned());
        }
        // An empty audience would match tokens whose audience is empty.
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err("audiences: name at least one".to_owned());
        }
        if self.rules.is_empty() {
            return Err("rules: give at least one, or no token of this issuer can sign in".to_owned());
        }
        if let Some(client) = &self.sign_in {
            client.check().map_err(|wrong| format!("signIn.{wrong}"))?;
        }
        let checked = self.rules.iter().enumerate().map(|(at, rule)| (at, rule.check()));
        checked.into_iter().try_for_each(|(at, checked)| checked.map_err(|wrong| format!("rules[{at}].{wrong}")))
    }

    /// Returns the name of the principal with this `sub` claim. It includes the issuer: the same subject of another issuer is another
    /// principal.
    pub fn subject_of(&self, subject: &str) -> String {
        subject_of(&self.issuer, subject)
    }

    /// Returns true if the claim `aud` has an accepted audience, or that of the web page's sign-in.
    pub fn is_for(&self, claims: &Map<String, Value>) -> bool {
        let audiences = claims.get("aud").map(values).unwrap_or_default();
        let accepted = || self.audiences.iter().chain(self.sign_in.iter().map(|client| &client.client_id));
        audiences.iter().filter_map(Value::as_str).any(|one| accepted().any(|accepted| accepted == one))
    }

    /// Returns the issuer's name for people: that of its sign-in, or its host.
    pub fn display_name(&self) -> String {
        let named = self.sign_in.as_ref().and_then(|client| client.name.clone());
        let host = || Url::parse(&self.issuer).ok()?.host_str().map(str::to_owned);
        named.or_else(host).unwrap_or_else(|| self.issuer.clone())
    }

    /// Returns the role and scope that these claims give; none if no rule matches.
    pub fn right(&self, claims: &Map<String, Value>) -> Option<(Role, Scope)> {
        self.rules.iter().find_map(|rule| Some((rule.role, rule.scope_of(claims)?)))
    }
}

impl ClaimRule {
    fn check(&self) -> Result<(), String> {
        // Any GitHub user can get a token of GitHub's issuer.
        if self.claims.is_empty() {
            return Err("claims: name at least one, or every token of this issuer would match".to_owned());
        }
        for (name, wanted) in &self.claims {
            let values = values(wanted);
            if values.is_empty() || !values.iter().all(is_scalar) {
                return Err(format!("claims.{name}: give a text, a number, true or false, or a list of them"));
            }
        }
        let Some(names) = &self.repositories else { return Ok(()) };
        let fixed: Vec<String> = names.iter().filter(|name| claim_of(name).is_none()).cloned().collect();
        if fixed.is_empty() && !names.is_empty() {
            return Ok(());
        }
        Scope::of(&fixed).map(|_| ()).map_err(|wrong| format!("repositories: {wrong}"))
    }

    /// Returns the scope of a token with these claims; none if the rule does not match, or a claim names no repository.
    fn scope_of(&self, claims: &Map<String, Value>) -> Option<Scope> {
        let matches = self.claims.iter().all(|(name, wanted)| {
            let wanted = values(wanted);
            find(claims, name)
                .is_some_and(|claim| values(claim).iter().any(|value| is_scalar(value) && wanted.contains(value)))
        });
        if !matches {
            return None;
        }
        let Some(names) = &self.repositories else { return Some(Scope::All) };
        let resolve = |name: &String| match claim_of(name) {
            None => Some(name.clone()),
            // Reject a pattern: it would cover more than the one repository that the issuer vouches for.
            Some(claim) => find(claims, claim)?.as_str().filter(|name| !name.contains('*')).map(str::to_owned),
        };
        Scope::of(&names.iter().map(resolve).collect::<Option<Vec<_>>>()?).ok()
    }
}

/// Returns true if `name` is a valid name of an issuer.
pub fn is_issuer(name: &str) -> bool {
    name.len() <= MAX_ISSUER && is_safe_address(name) && !name.contains(SEPARATOR)
}

/// Returns true if a subject can be repeated whole in log and audit. A longer one is rejected instead of truncated, because two subjects
/// could be the same after truncation.
pub fn is_subject(subject: &str) -> bool {
    !subject.is_empty() && text::cut(subject, MAX_SUBJECT) == subject && !subject.contains(text::is_unfit_for_names)
}

/// Returns the name of a subject of an issuer, as used in records and revocations.
pub fn subject_of(issuer: &str, subject: &str) -> String {
    format!("{}{SEPARATOR}{subject}", without_scheme(issuer))
}

fn without_scheme(issuer: &str) -> &str {
    issuer.split_once("://").map_or(issuer, |(_, rest)| rest)
}

/// Returns the claim's name if `name` is a placeholder `{claim}`.
fn claim_of(name: &str) -> Option<&str> {
    name.strip_prefix('{')?.strip_suffix('}')
}

fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let claim = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(claim), |rest| claim.pointer(&format!("/{rest}")))
}

fn values(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

/// Returns true if signing keys may be fetched from this address: `https`, or `http` on this machine, so that no one on the network path
/// can substitute other keys.
pub fn is_safe_address(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let no_user = url.username().is_empty() && url.password().is_none();
    (url.scheme() == "https" || url.scheme() == "http" && here)
        && no_user
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(rules: &Value) -> Result<Vec<Issuer>, String> {
        parse(&json!([{"issuer": "https://issuer.example", "audiences": ["panda"], "rules": rules}]).to_string())
    }

    fn right(given: &Value, claims: &Value) -> Option<(Role, Scope)> {
        rules(given).unwrap()[0].right(claims.as_object().unwrap())
    }

    fn only(repository: &str) -> Scope {
        Scope::of(&[repository.to_owned()]).unwrap()
    }

    #[test]
    fn first_matching_rule_gives_the_role() {
        let given = json!([
            {"claims": {"groups": "admins"}, "role": "admin"},
            {"claims": {"groups": ["shop", "toys"], "mfa": true}, "role": "approver", "repositories": ["acme/*"]},
        ]);
        let of = |claims: Value| right(&given, &claims);
        assert_eq!(of(json!({"groups": ["shop", "admins"], "mfa": true})), Some((Role::Admin, Scope::All)));
        assert_eq!(of(json!({"groups": ["toys"], "mfa": true})), Some((Role::Approver, only("acme/*"))));
        assert_eq!(of(json!({"groups": "shop", "mfa": true})), Some((Role::Approver, only("acme/*"))));
        for claims in [
            json!({}),
            json!({"groups": ["shop"]}),
            json!({"groups": ["shop"], "mfa": "true"}),
            json!({"groups": ["shops"], "mfa": true}),
            json!({"groups": "admins,shop", "mfa": true}),
            json!({"groups": {"admins": "admins"}, "mfa": true}),
            json!({"groups": [["admins"]], "mfa": true}),
            json!({"groups": null, "mfa": true}),
        ] {
            assert_eq!(of(claims.clone()), None, "{claims}");
        }
    }

    #[test]
    fn claim_names_exactly_one_repository() {
        let given =
            json!([{"claims": {"repository_owner": "acme"}, "role": "deployer", "repositories": ["{repository}"]}]);
        let of = |repository: Value| right(&given, &json!({"repository_owner": "acme", "repository": repository}));
        assert_eq!(of(json!("acme/Shop")), Some((Role::Deployer, only("acme/shop"))));
        for repository in [json!("acme/*"), json!("*/*"), json!(""), json!("acme"), json!(["acme/shop"]), json!(null)] {
            assert_eq!(of(repository.clone()), None, "{repository}");
        }
    }

    #[test]
    fn example_of_the_guide_works_as_documented() {
        let guide = include_str!("../../docs/security.md");
        let (_, guide) = guide.split_once("## OpenID Connect").unwrap();
        let example = guide.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let issuers = parse(example).unwrap();
        let claims = json!({"repository_owner_id": "1234567", "repository": "acme/shop", "ref": "refs/heads/main", "event_name": "push"});
        let right = |claims: &Value| issuers[0].right(claims.as_object().unwrap());
        assert_eq!(right(&claims), Some((Role::Deployer, only("acme/shop"))));
        for (claim, other) in
            [("repository_owner_id", "7"), ("ref", "refs/pull/1/merge"), ("event_name", "pull_request")]
        {
            let mut claims = claims.clone();
            claims[claim] = json!(other);
            assert_eq!(right(&claims), None, "{claim}");
        }
    }

    #[test]
    fn finds_nested_claims() {
        let given = json!([{"claims": {"/realm_access/roles": "panda"}, "role": "viewer"}]);
        assert!(right(&given, &json!({"realm_access": {"roles": ["x", "panda"]}})).is_some());
        assert!(right(&given, &json!({"/realm_access/roles": "panda", "realm_access": 7})).is_none());
        let named = json!([{"claims": {"https://acme.example/groups": "panda"}, "role": "viewer"}]);
        assert!(right(&named, &json!({"https://acme.example/groups": "panda"})).is_some());
    }

    #[test]
    fn rejects_a_file_that_accepts_too_much() {
        let rule = json!({"claims": {"sub": "x"}, "role": "viewer"});
        let file = |change: Value| {
            let mut issuer = json!({"issuer": "https://issuer.example", "audiences": ["panda"], "rules": [rule]});
            issuer.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            parse(&json!([issuer]).to_string())
        };
        assert!(file(json!({})).is_ok() && file(json!({"issuer": "http://127.0.0.1:8080/realm"})).is_ok());
        for (change, place) in [
            (json!({"issuer": "http://issuer.example"}), "[0].issuer"),
            (json!({"issuer": "https://u:p@issuer.example"}), "[0].issuer"),
            (json!({"issuer": "http://localhost.evil.example"}), "[0].issuer"),
            (json!({"audiences": []}), "[0].audiences"),
            (json!({"audiences": [""]}), "[0].audiences"),
            (json!({"rules": []}), "[0].rules"),
            (json!({"rules": [{"claims": {}, "role": "viewer"}]}), "[0].rules[0].claims"),
            (json!({"rules": [{"claims": {"sub": []}, "role": "viewer"}]}), "claims.sub"),
            (json!({"rules": [{"claims": {"sub": {}}, "role": "viewer"}]}), "claims.sub"),
            (json!({"rules": [{"claims": {"sub": "x"}, "role": "root"}]}), "[0].rules[0].role"),
            (json!({"rules": [{"claims": {"sub": "x"}, "role": "viewer", "repositories": []}]}), "repositories"),
            (json!({"rules": [{"claims": {"sub": "x"}, "role": "viewer", "repositories": ["acme"]}]}), "repositories"),
            (json!({"rules": [{"claims": {"sub": "x"}, "role": "viewer", "repository": []}]}), "repository"),
        ] {
            let wrong = file(change.clone()).unwrap_err();
            assert!(wrong.contains(place), "{change}: {wrong}");
        }
        let twice = json!({"issuer": "https://issuer.example", "audiences": ["panda"], "rules": [rule]});
        assert!(parse(&json!([twice, twice]).to_string()).unwrap_err().contains("twice"));
        assert!(parse("[]").is_err() && parse("{").is_err() && parse("[] x").is_err());
    }
}
