//! Apps that GitHub creates from Panda's manifest: a caller begins one, GitHub returns a code with which [`exchange`] fetches its private key, and callers
//! of the same scope connect repositories with it.

pub mod error;
pub mod exchange;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use self::error::GithubAppError;
use super::access::require_role;
use super::error::CommandError;
use super::push_hooks;
use crate::db::audit::{self, AuditRecord};
use crate::db::github_apps::{self, GithubAppView, NewGithubApp};
use crate::db::{Db, DbError, PgConnection};
use crate::domain::app_manifest::{self, AppManifest, MAX_APPS, ManifestSite};
use crate::domain::audit::Action;
use crate::domain::github_app::GithubApp;
use crate::domain::principal::{Caller, Role};
use crate::domain::token::{self, SecretHash};
use crate::domain::validate::FieldRefusal;
use crate::domain::{ids, validate};

/// Values that a caller chooses for a new App.
#[derive(Clone, Debug, Default)]
pub struct AppRequest {
    /// Proposed name; none for one that Panda proposes.
    pub name: Option<String>,
    /// Organisation that will own it; none for the account of the person.
    pub organization: Option<String>,
    /// Push hook that receives its push events; none for an App without events.
    pub push_hook: Option<String>,
}

/// An App that a caller has begun.
#[derive(Clone, Debug)]
pub struct BegunApp {
    /// Id of the App in Panda.
    pub id: String,
    /// GitHub's page to which the browser posts the manifest. Its query has the state, so that it is a secret.
    pub address: SecretString,
    /// What the browser posts: name, addresses and permissions.
    pub manifest: Value,
    /// Time until which the state is accepted.
    pub expires_at: DateTime<Utc>,
}

impl AppRequest {
    fn check(&self) -> Result<(), FieldRefusal> {
        if let Some(name) = &self.name {
            app_manifest::name(name).map_err(|rule| FieldRefusal::new("name", rule))?;
        }
        if let Some(organization) = &self.organization {
            validate::owner(organization).map_err(|rule| FieldRefusal::new("organization", rule))?;
        }
        Ok(())
    }
}

/// Begins an App: stores the hash of a new state, and returns the manifest for GitHub. Only this caller can finish it.
///
/// # Errors
/// The caller's role is too low, the page's address is not configured, there are too many Apps, or the caller is not an admin of the push hook.
pub async fn begin(db: &Db, site: &ManifestSite, request: &AppRequest, by: &Caller) -> Result<BegunApp, CommandError> {
    require_role(by, Role::Deployer)?;
    let public = site.public.as_ref().ok_or(GithubAppError::NoPublicUrl)?;
    request.check()?;
    if let Some(hook) = &request.push_hook {
        push_hooks::show(db, hook, by).await?;
    }
    let id = ids::github_app_id();
    let name = request.name.clone().unwrap_or_else(|| app_manifest::default_name(&id));
    let payload_path = request.push_hook.as_ref().map(|hook| format!("/api/v1/hooks/github/{hook}"));
    let manifest = AppManifest { id: &id, name: &name, public, payload_path: payload_path.as_deref() }.to_json();
    let state = token::random().map_err(DbError::from)?;
    let organization = request.organization.as_deref();
    let new = NewGithubApp {
        id: &id,
        name: &name,
        organization,
        push_hook: request.push_hook.as_deref(),
        state: &SecretHash::of(state.expose_secret()),
    };
    let mut tx = db.begin().await?;
    if github_apps::clean_and_count(&mut tx).await? >= MAX_APPS {
        return Err(GithubAppError::TooMany.into());
    }
    let expires_at = github_apps::insert(&mut tx, &new, by).await?;
    let details = json!({"name": name, "organization": organization, "pushHookId": request.push_hook});
    record(&mut tx, by, Action::BeginGithubApp, &id, details).await?;
    tx.commit().await?;
    let address = SecretString::from(String::from(site.address(organization, state.expose_secret())));
    Ok(BegunApp { id, address, manifest, expires_at })
}

/// Lists the Apps of the caller's scope, the oldest first.
///
/// # Errors
/// The caller's role is too low.
pub async fn list(db: &Db, by: &Caller) -> Result<Vec<GithubAppView>, CommandError> {
    require_role(by, Role::Deployer)?;
    Ok(db.github_apps(by).await?)
}

/// Returns the credential of a repository's connection by an App of the caller's scope.
///
/// # Errors
/// The caller's role is too low, or its scope has no such App that GitHub has created.
pub async fn credential(db: &Db, id: &str, installation_id: u64, by: &Caller) -> Result<SecretString, CommandError> {
    require_role(by, Role::Deployer)?;
    let found = db.github_app_key(id, by).await?;
    let (app_id, private_key) = found.ok_or_else(|| GithubAppError::NotFound(id.to_owned()))?;
    Ok(GithubApp { app_id, installation_id, private_key }.to_secret())
}

/// Deletes an App with its private key, and returns it as it was. It stays at GitHub, and connections keep the key that they have.
///
/// # Errors
/// The caller's role is too low, or its scope has no such App.
pub async fn delete(db: &Db, id: &str, by: &Caller) -> Result<GithubAppView, CommandError> {
    require_role(by, Role::Deployer)?;
    let mut tx = db.begin().await?;
    let found = github_apps::lock(&mut tx, id, by).await?;
    let found = found.ok_or_else(|| GithubAppError::NotFound(id.to_owned()))?;
    github_apps::delete(&mut tx, id).await?;
    record(&mut tx, by, Action::DeleteGithubApp, id, json!({"name": found.name, "status": found.status})).await?;
    tx.commit().await?;
    Ok(found)
}

/// Returns the page at which an App is installed, by the page of the App.
pub fn installation_page(address: &str) -> String {
    let page = Url::parse(address).ok().and_then(|mut page| {
        page.path_segments_mut().ok()?.pop_if_empty().extend(["installations", "new"]);
        Some(page)
    });
    page.map_or_else(|| address.to_owned(), String::from)
}

async fn record(tx: &mut PgConnection, by: &Caller, action: Action, id: &str, details: Value) -> Result<(), DbError> {
    let entry = AuditRecord { by, action, target: Some(id), repository: None, refused: None, details };
    audit::record(tx, &entry).await.map(drop)
}
