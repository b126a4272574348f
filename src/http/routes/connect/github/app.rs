//! An installation of a GitHub App in a request.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::commands::github_apps::credential;
use crate::commands::github_apps::error::GithubAppError;
use crate::domain::github_app::GithubApp;
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::text;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::{MAX_NAME, is_id};

/// Installation of a GitHub App, whose tokens of an hour Panda requests when it needs one: `githubAppId` of an App that Panda created, or `appId` and `privateKey`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GithubAppBody {
    /// App that GitHub created from Panda's manifest, in place of `appId` and `privateKey`.
    #[serde(default)]
    #[schema(nullable, example = "gha_4k1zq0v7w3m9x2c8b5n6")]
    pub github_app_id: Option<String>,
    /// Id or client id of the App.
    #[serde(default)]
    #[schema(nullable, example = "123456", min_length = 1, max_length = 40)]
    pub app_id: Option<String>,
    /// Id of the installation in the account of the repository: the number at the end of its address at GitHub.
    #[schema(example = 98_765_432)]
    pub installation_id: u64,
    /// Private key of the App: the content of the PEM file that GitHub generated. Never returned.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, write_only, example = "-----BEGIN RSA PRIVATE KEY-----…", max_length = 8192)]
    pub private_key: Option<SecretString>,
}

impl GithubAppBody {
    /// All fields, for the hash that distinguishes requests with the same idempotency key.
    pub(super) fn meaning(&self) -> Value {
        let key = self.private_key.as_ref().map(SecretString::expose_secret);
        match &self.github_app_id {
            None => json!([self.app_id, self.installation_id, key]),
            Some(created) => json!([self.app_id, self.installation_id, key, created]),
        }
    }

    /// The form in which the connection stores it.
    pub(super) async fn checked(self, state: &ApiState, caller: &Caller) -> Result<SecretString, ApiError> {
        let Self { github_app_id, app_id, installation_id, private_key } = self;
        let twice = |field: &str| ApiError::field(field, message!("rule.source_twice", field = "app.githubAppId"));
        let missing = |field: &str| ApiError::field(field, message!("rule.missing"));
        match (github_app_id, app_id, private_key) {
            (Some(id), None, None) if !is_id(&id) => Err(GithubAppError::NotFound(text::cut(&id, MAX_NAME)).into()),
            (Some(id), None, None) => Ok(credential(&state.db, &id, installation_id, caller).await?),
            (Some(_), Some(_), _) => Err(twice("app.appId")),
            (Some(_), None, Some(_)) => Err(twice("app.privateKey")),
            (None, None, _) => Err(missing("app.appId")),
            (None, Some(_), None) => Err(missing("app.privateKey")),
            (None, Some(app_id), Some(private_key)) => {
                let app = GithubApp { app_id, installation_id, private_key }.checked();
                app.map(|app| app.to_secret()).map_err(|refused| refused.within("app").into())
            }
        }
    }
}
