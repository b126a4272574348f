//! The pool of configured builders, and the choice of a builder for a repository.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::builder::Builder;
use crate::domain::principal::Scope;

/// A builder with its scope and its permits.
#[derive(Clone, Debug)]
pub struct PooledBuilder {
    /// Builder that the permits belong to.
    pub builder: Builder,
    scope: Option<Scope>,
    permits: Arc<Semaphore>,
}

impl PooledBuilder {
    /// Creates an entry that serves the repositories of `scope`, or without a scope all repositories that no other builder serves, with at most
    /// `permits` concurrent builds of this replica.
    pub fn new(builder: Builder, scope: Option<Scope>, permits: usize) -> Self {
        Self { builder, scope, permits: Arc::new(Semaphore::new(permits)) }
    }

    /// Takes a build permit, to be held until the build has ended; `None` while all permits are in use.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }
}

/// The configured builders, shared between tasks.
#[derive(Clone, Debug)]
pub struct BuilderPool(Arc<[PooledBuilder]>);

impl BuilderPool {
    /// Creates a pool from `builders`.
    pub fn new(builders: Vec<PooledBuilder>) -> Self {
        Self(builders.into())
    }

    /// Returns the builder of a deployment: one of the builders whose scope contains the repository, otherwise one without a scope, and always the
    /// same one for the same deployment. `None` if there is no such builder.
    pub fn of(&self, owner: &str, repo: &str, deployment: &str) -> Option<&PooledBuilder> {
        let named = |pooled: &&PooledBuilder| pooled.scope.as_ref().is_some_and(|scope| scope.holds(owner, repo));
        let mut serving: Vec<&PooledBuilder> = self.0.iter().filter(named).collect();
        if serving.is_empty() {
            serving = self.0.iter().filter(|pooled| pooled.scope.is_none()).collect();
        }
        // The image is in one engine, so each replica and each step must choose the same builder.
        let mut hasher = DefaultHasher::new();
        deployment.hash(&mut hasher);
        let at = hasher.finish() % u64::try_from(serving.len().max(1)).unwrap_or(1);
        serving.get(usize::try_from(at).unwrap_or_default()).copied()
    }

    /// Sets the secret from which names of cache domains are derived, for all builders.
    pub fn set_secret(&self, secret: &SecretString) {
        for pooled in self.0.iter() {
            pooled.builder.set_secret(secret.clone());
        }
    }

    /// Iterates over the builders in configured order.
    pub fn iter(&self) -> impl Iterator<Item = &Builder> {
        self.0.iter().map(|pooled| &pooled.builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::docker::Docker;
    use crate::domain::builder::BuilderChoice;
    use crate::metrics::BuildMetrics;

    fn pooled(name: &str, scopes: Option<&[&str]>) -> PooledBuilder {
        let docker = Docker::connect(Some("unix:///nowhere")).unwrap();
        let builder = Builder::new(name, docker, None, BuilderChoice::Auto, BuildMetrics::default());
        let scope = scopes.map(|names| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Scope::of(&names).unwrap()
        });
        PooledBuilder::new(builder, scope, 1)
    }

    #[test]
    fn chooses_builder_by_scope() {
        let builders = BuilderPool::new(vec![
            pooled("acme", Some(&["acme/*"])),
            pooled("acme too", Some(&["ACME/*"])),
            pooled("rest", None),
        ]);
        let name = |owner: &str, id: &str| builders.of(owner, "shop", id).unwrap().builder.name().to_owned();
        assert_eq!(name("evil", "dep_1"), "rest");
        let chosen: Vec<String> = (0..50).map(|number| name("acme", &format!("dep_{number}"))).collect();
        assert!(chosen.contains(&"acme".to_owned()) && chosen.contains(&"acme too".to_owned()));
        assert!(!chosen.contains(&"rest".to_owned()));
        assert_eq!(name("acme", "dep_7"), name("acme", "dep_7"), "the image is there");
        let only_acme = BuilderPool::new(vec![pooled("acme", Some(&["acme/*"]))]);
        assert!(only_acme.of("evil", "shop", "dep_1").is_none());
    }

    #[test]
    fn limits_permits() {
        let pooled = pooled("one", None);
        let held = pooled.permit();
        assert!(held.is_some() && pooled.permit().is_none());
        drop(held);
        assert!(pooled.permit().is_some());
    }
}
