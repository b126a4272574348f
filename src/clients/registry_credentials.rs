//! Registry logins for base images, caches and pushes. The builder uses them; no build step sees them.

use std::collections::BTreeMap;

use secrecy::SecretString;

/// User name and password for one registry.
#[derive(Clone, Debug)]
pub struct Login {
    /// User name, in plain text.
    pub username: String,
    /// Password or access token.
    pub password: SecretString,
}

/// Logins by registry host (`host` or `host:port`, as in image references).
#[derive(Clone, Debug, Default)]
pub struct Credentials(BTreeMap<String, Login>);

impl Credentials {
    /// Adds a registry's login; replaces an earlier one for the same host.
    pub fn insert(&mut self, host: &str, login: Login) {
        self.0.insert(host.to_owned(), login);
    }

    /// Returns the login for `host`. BuildKit refers to Docker Hub by the host of its API.
    pub fn get(&self, host: &str) -> Option<&Login> {
        let hub = ["registry-1.docker.io", "index.docker.io", "docker.io"];
        self.0.get(host).or_else(|| hub.contains(&host).then(|| hub.iter().find_map(|name| self.0.get(*name)))?)
    }

    /// Iterates over all hosts with their logins.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Login)> {
        self.0.iter().map(|(host, login)| (host.as_str(), login))
    }
}
