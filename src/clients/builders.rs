//! The builders that there are, and which of them serves a repository.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::builder::Builder;
use crate::domain::principal::Scope;

/// One of the builders.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// The builder.
    pub builder: Builder,
    scope: Option<Scope>,
    permits: Arc<Semaphore>,
}

impl Pooled {
    /// A builder for the repositories of `scope`, or for all that no other builder serves, with `permits` builds of this replica at once.
    pub fn new(builder: Builder, scope: Option<Scope>, permits: usize) -> Self {
        Self { builder, scope, permits: Arc::new(Semaphore::new(permits)) }
    }

    /// A permit to build, held as long as the build; none while all are in use.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }
}

/// All builders.
#[derive(Clone, Debug)]
pub struct Builders(Arc<[Pooled]>);

impl Builders {
    /// These builders.
    pub fn new(builders: Vec<Pooled>) -> Self {
        Self(builders.into())
    }

    /// The builder of a deployment: of those whose scope holds the repository one, always the same; else of those without a scope. None where
    /// there is neither.
    pub fn of(&self, owner: &str, repo: &str, deployment: &str) -> Option<&Pooled> {
        let named = |pooled: &&Pooled| pooled.scope.as_ref().is_some_and(|scope| scope.holds(owner, repo));
        let mut serving: Vec<&Pooled> = self.0.iter().filter(named).collect();
        if serving.is_empty() {
            serving = self.0.iter().filter(|pooled| pooled.scope.is_none()).collect();
        }
        // Its image is in one engine: each replica and each step must come to the same.
        let mut hasher = DefaultHasher::new();
        deployment.hash(&mut hasher);
        let at = hasher.finish() % u64::try_from(serving.len().max(1)).unwrap_or(1);
        serving.get(usize::try_from(at).unwrap_or_default()).copied()
    }

    /// Sets what the names of trust domains are derived from, for all of them.
    pub fn set_secret(&self, secret: &SecretString) {
        for pooled in self.0.iter() {
            pooled.builder.set_secret(secret.clone());
        }
    }

    /// All of them.
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

    fn pooled(name: &str, scopes: Option<&[&str]>) -> Pooled {
        let docker = Docker::connect(Some("unix:///nowhere")).unwrap();
        let builder = Builder::new(name, docker, None, BuilderChoice::Auto, BuildMetrics::default());
        let scope = scopes.map(|names| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Scope::of(&names).unwrap()
        });
        Pooled::new(builder, scope, 1)
    }

    #[test]
    fn builders_serve_their_scope_and_those_without_one_the_rest() {
        let builders = Builders::new(vec![
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
        let only_acme = Builders::new(vec![pooled("acme", Some(&["acme/*"]))]);
        assert!(only_acme.of("evil", "shop", "dep_1").is_none());
    }

    #[test]
    fn builders_give_as_many_permits_as_they_have() {
        let pooled = pooled("one", None);
        let held = pooled.permit();
        assert!(held.is_some() && pooled.permit().is_none());
        drop(held);
        assert!(pooled.permit().is_some());
    }
}
