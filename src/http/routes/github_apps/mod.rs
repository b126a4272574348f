//! `/api/v1/github-apps`: Apps that GitHub creates from Panda's manifest, with which repositories are connected.

pub mod begin;
pub mod delete;
pub mod error;
pub mod exchange;
pub mod list;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::github_apps::installation_page;
use crate::db::github_apps::GithubAppView;
use crate::http::time;

/// An App that GitHub creates from Panda's manifest. Its private key is never returned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GithubApp)]
pub struct ShownGithubApp {
    /// Id for `POST /api/v1/connect/github`.
    #[schema(example = "gha_4k1zq0v7w3m9x2c8b5n6")]
    pub github_app_id: String,
    /// `created`; `exchanging` while GitHub's answer is not stored; `refused` where GitHub did not accept the code. The last two have no key: such an App may
    /// exist at GitHub, and is to be deleted there.
    #[schema(example = "created", pattern = "^(exchanging|refused|created)$")]
    pub status: String,
    /// Name at GitHub, and before its creation the proposed one.
    #[schema(example = "Panda of Acme")]
    pub name: String,
    /// Organisation that owns it; null for the account of a person.
    #[schema(example = "acme")]
    pub organization: Option<String>,
    /// Push hook that receives its push events; null without one.
    #[schema(example = "hok_4k1zq0v7w3m9x2c8b5n6")]
    pub push_hook_id: Option<String>,
    /// Id of the App at GitHub; null until it is created.
    #[schema(example = "123456")]
    pub app_id: Option<String>,
    /// Page of the App at GitHub; null until it is created.
    #[schema(example = "https://github.com/apps/panda-of-acme")]
    pub address: Option<String>,
    /// Page at GitHub that installs the App in the account; null until it is created.
    #[schema(example = "https://github.com/apps/panda-of-acme/installations/new")]
    pub installation_address: Option<String>,
    /// Caller who created it.
    #[schema(example = "alice")]
    pub made_by: String,
    /// Time at which it was begun (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

impl From<GithubAppView> for ShownGithubApp {
    fn from(row: GithubAppView) -> Self {
        Self {
            github_app_id: row.id,
            status: row.status,
            name: row.name,
            organization: row.organization,
            push_hook_id: row.push_hook_id,
            app_id: row.app_id,
            installation_address: row.address.as_deref().map(installation_page),
            address: row.address,
            made_by: row.made_by,
            created_at: row.created_at,
        }
    }
}
