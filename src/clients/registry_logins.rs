//! Operator-configured registry logins for base images: a file in the format of Docker's `config.json`.
//!
//! Each build reads the file again, so that renewed logins need no restart.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

use super::registry_credentials::{Credentials, Login};
use super::{ClientError, ErrorKind};
use crate::bounded;
use crate::domain::principal::Scope;

const CALL: &str = "registry logins";

/// The configured file of registry logins, if there is one.
#[derive(Clone, Debug, Default)]
pub struct RegistryLogins {
    file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct File {
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    /// Panda's extension: owners or repositories (`acme/*`, `acme/shop`) whose builds may use the login; all if absent.
    scopes: Option<Vec<String>>,
}

impl RegistryLogins {
    /// Validates `file` and uses its logins. Fails if the file is unusable, so that a mistake is reported at startup.
    pub fn new(file: Option<PathBuf>) -> Result<Self, ClientError> {
        let registries = Self { file };
        registries.read()?;
        Ok(registries)
    }

    /// Returns the logins that builds of `owner/repo` may use.
    pub fn logins(&self, owner: &str, repo: &str) -> Result<Credentials, ClientError> {
        let mut logins = Credentials::default();
        for (host, login, scope) in self.read()? {
            if scope.is_none_or(|scope| scope.holds(owner, repo)) {
                logins.insert(&host, login);
            }
        }
        Ok(logins)
    }

    fn read(&self) -> Result<Vec<(String, Login, Option<Scope>)>, ClientError> {
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        let invalid = |message: String| {
            ClientError::new(
                ErrorKind::Invalid,
                CALL,
                format!("{} (PANDA_REGISTRY_AUTH_FILE): {message}", path.display()),
            )
        };
        let text = bounded::file(path).map(Zeroizing::new).map_err(|error| invalid(error.to_string()))?;
        // Only the position of a parse error is reported: its text may quote a password.
        let file: File = serde_json::from_slice(&text).map_err(|error| {
            invalid(format!("is not Docker's config.json, line {} column {}", error.line(), error.column()))
        })?;
        file.auths
            .into_iter()
            .map(|(registry, entry)| {
                let scopes = entry.scopes.as_deref().map(Scope::of).transpose();
                let scope = scopes.map_err(|rule| invalid(format!("auths.{registry}.scopes: {rule}")))?;
                let login = login(&entry).ok_or_else(|| {
                    invalid(format!("auths.{registry}: give auth (Base64 of user:password), or username and password"))
                })?;
                Ok((host(&registry).to_owned(), login, scope))
            })
            .collect()
    }
}

fn login(entry: &Entry) -> Option<Login> {
    use secrecy::ExposeSecret as _;
    if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
        return Some(Login { username: username.clone(), password: password.clone() });
    }
    let decoded = Zeroizing::new(STANDARD.decode(entry.auth.as_ref()?.expose_secret().trim()).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Login { username: username.to_owned(), password: SecretString::from(password) })
}

/// Extracts the host: `https://index.docker.io/v1/` → `index.docker.io`. Docker writes the first form for its own registry.
fn host(registry: &str) -> &str {
    let rest = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn registries(text: &str) -> (tempfile::TempDir, Result<RegistryLogins, ClientError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let registries = RegistryLogins::new(Some(path));
        (folder, registries)
    }

    #[test]
    fn reads_docker_config_json() {
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "ghcr.io": {"username": "a", "password": "b"}}, "credsStore": "x"}"#;
        let (_folder, registries) = registries(text);
        let logins = registries.unwrap().logins("acme", "shop").unwrap();
        let hub = logins.get("registry-1.docker.io").unwrap();
        assert_eq!((hub.username.as_str(), hub.password.expose_secret()), ("u", "p"));
        assert_eq!(logins.get("ghcr.io").unwrap().username, "a");
        assert!(logins.get("quay.io").is_none());
    }

    #[test]
    fn scope_excludes_other_owners() {
        let (_folder, registries) = registries(r#"{"auths": {"r.example": {"auth": "dTpw", "scopes": ["acme/*"]}}}"#);
        let registries = registries.unwrap();
        assert!(registries.logins("acme", "shop").unwrap().get("r.example").is_some());
        assert!(registries.logins("evil", "shop").unwrap().get("r.example").is_none());
    }

    #[test]
    fn errors_name_the_entry_without_its_password() {
        for (text, named) in [
            (r#"{"auths": {"r.example": {"auth": "hunter2hunter2"}}}"#, "auths.r.example"),
            (r#"{"auths": {"r.example": {"username": "u"}}}"#, "auths.r.example"),
            (r#"{"auths": {"r.example": {"auth": "dTpw", "scopes": ["a/b/c"]}}}"#, "scopes"),
            (r#"{"auths": {"r.example": {"auth": 5hunter2}}}"#, "line 1"),
            ("[]", "config.json"),
        ] {
            let (_folder, registries) = registries(text);
            let error = registries.unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
        }
        assert!(RegistryLogins::new(Some("/nowhere/config.json".into())).unwrap_err().to_string().contains("/nowhere"));
    }
}
