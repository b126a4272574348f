//! An installation of a GitHub App in a request.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::domain::github_app::GithubApp;
use crate::http::error::ApiError;

/// Installation of a GitHub App, whose tokens of an hour Panda requests when it needs one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GithubAppBody {
    /// Id or client id of the App.
    #[schema(example = "123456", min_length = 1, max_length = 40)]
    pub app_id: String,
    /// Id of the installation in the account of the repository: the number at the end of its address at GitHub.
    #[schema(example = 98_765_432)]
    pub installation_id: u64,
    /// Private key of the App: the content of the PEM file that GitHub generated. Never returned.
    #[schema(value_type = String, format = Password, write_only, example = "-----BEGIN RSA PRIVATE KEY-----…", max_length = 8192)]
    pub private_key: SecretString,
}

impl GithubAppBody {
    /// All fields, for the hash that distinguishes requests with the same idempotency key.
    pub(super) fn meaning(&self) -> Value {
        json!([self.app_id, self.installation_id, self.private_key.expose_secret()])
    }

    /// The form in which the connection stores it.
    pub(super) fn checked(self) -> Result<SecretString, ApiError> {
        let Self { app_id, installation_id, private_key } = self;
        let app = GithubApp { app_id, installation_id, private_key }.checked();
        app.map(|app| app.to_secret()).map_err(|refused| refused.within("app").into())
    }
}
