//! Exchange the code that GitHub returned for the private key of the App that it created.
//!
//! GitHub gives the key once. The intent is committed first, so that a process that dies between GitHub's answer and the commit leaves an App that is
//! `exchanging`. The same caller may repeat the exchange with the same code: GitHub then refuses it if the key was given, which is stored as `refused`.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::error::GithubAppError;
use super::record;
use crate::clients::github::{GitHub, GitHubError, ManifestApp};
use crate::clients::{ClientError, ErrorKind};
use crate::commands::access::require_role;
use crate::commands::error::CommandError;
use crate::db::github_apps::{self, ExchangedApp, GithubAppView};
use crate::db::push_hooks::secrets;
use crate::db::{Db, DbError};
use crate::domain::app_manifest::{self, ManifestSite};
use crate::domain::audit::Action;
use crate::domain::github_app::GithubApp;
use crate::domain::principal::{Caller, Role};
use crate::domain::token::SecretHash;
use crate::domain::validate::FieldRefusal;

/// Time for which earlier secrets of the push hook are accepted, in hours.
const PREVIOUS_HOURS: i64 = 24;

/// Values that GitHub returned to the page.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The state that the caller began with.
    pub state: SecretString,
    /// Code that can be exchanged once, within an hour.
    pub code: SecretString,
}

/// Fetches id and key of the App from GitHub, and stores them. A repetition with the same state and code returns what is stored.
///
/// # Errors
/// The state is not the caller's, GitHub refuses the code or does not answer, or another request exchanges it.
pub async fn exchange(
    db: &Db,
    github: &GitHub,
    site: &ManifestSite,
    returned: &Returned,
    by: &Caller,
) -> Result<GithubAppView, CommandError> {
    require_role(by, Role::Deployer)?;
    app_manifest::code(returned.code.expose_secret()).map_err(|rule| FieldRefusal::new("code", rule))?;
    let code = SecretHash::of(returned.code.expose_secret());
    let app = match claim(db, &SecretHash::of(returned.state.expose_secret()), &code, by).await? {
        app if app.status == "created" => return Ok(app),
        app => app,
    };
    match fetch(github, site, &returned.code).await {
        Ok(created) => store(db, &app, &created, by).await,
        Err(error) => {
            let is_refused = matches!(error, GitHubError::ManifestCodeRefused(_));
            let mut tx = db.begin().await?;
            github_apps::end_exchange(&mut tx, &app.id, &code, is_refused).await?;
            tx.commit().await?;
            Err(error.into())
        }
    }
}

/// Commits that the code is sent to GitHub, unless the App is created already.
async fn claim(db: &Db, state: &SecretHash, code: &SecretHash, by: &Caller) -> Result<GithubAppView, CommandError> {
    let mut tx = db.begin().await?;
    let app = github_apps::lock_by_state(&mut tx, state, code, by).await?.ok_or(GithubAppError::StateRefused)?;
    match app.status.as_str() {
        "created" => return Ok(app),
        "refused" => return Err(GithubAppError::StateRefused.into()),
        _ => {}
    }
    if !github_apps::begin_exchange(&mut tx, &app.id, code).await? {
        return Err(GithubAppError::Exchanging.into());
    }
    tx.commit().await?;
    Ok(app)
}

/// Fetches the App. Its key must be able to sign, and its page must be GitHub's, because browsers are sent to it.
async fn fetch(github: &GitHub, site: &ManifestSite, code: &SecretString) -> Result<ManifestApp, GitHubError> {
    let created = github.exchange_manifest_code(code).await?;
    let app =
        GithubApp { app_id: created.app_id.clone(), installation_id: 0, private_key: created.private_key.clone() };
    let broken = |what: &str| {
        let text = format!("GitHub created an App, but {what} in its answer cannot be used");
        GitHubError::Unavailable(ClientError::new(ErrorKind::Invalid, "GitHub App manifest", text))
    };
    app.checked().map_err(|_| broken("id or pem"))?;
    if !site.is_github(&created.address) {
        return Err(broken("html_url"));
    }
    Ok(created)
}

/// Stores the App, and its webhook secret as the newest one of the push hook.
async fn store(
    db: &Db,
    app: &GithubAppView,
    created: &ManifestApp,
    by: &Caller,
) -> Result<GithubAppView, CommandError> {
    // Before the transaction, because a key service may be called.
    let key = db.github_app_row_key(&app.id).await?;
    let hook = match &app.push_hook_id {
        Some(id) => db.stored_push_hook_key(id).await?.map(|key| (id, key)),
        None => None,
    };
    let stored = ExchangedApp {
        app_id: &created.app_id,
        name: &created.name,
        address: created.address.as_str(),
        private_key: &created.private_key,
    };
    let mut tx = db.begin().await?;
    if !github_apps::store(&mut tx, &app.id, &key, &stored).await? {
        return Err(GithubAppError::StateRefused.into());
    }
    if let Some(((id, key), secret)) = hook.zip(created.webhook_secret.as_ref()) {
        secrets::rotate(&mut tx, id, (&key, secret), PREVIOUS_HOURS).await?;
        record(&mut tx, by, Action::RotatePushHook, id, json!({"hours": PREVIOUS_HOURS, "githubAppId": app.id}))
            .await?;
    }
    let details = json!({"name": created.name, "appId": created.app_id});
    record(&mut tx, by, Action::CreateGithubApp, &app.id, details).await?;
    let view = github_apps::lock(&mut tx, &app.id, by).await?;
    tx.commit().await?;
    view.ok_or_else(|| DbError::Corrupt(format!("App {} is missing right after its change", app.id)).into())
}
