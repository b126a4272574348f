//! `/api/v1/hooks`: push hooks, whose rules start deployments for pushes to GitHub.

pub mod change;
pub mod create;
pub mod delete;
pub mod deliveries;
pub mod error;
pub mod github;
pub mod list;
pub mod path;
pub mod rule;
pub mod secret;
pub mod show;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::push_hooks::{PushHookSettings, PushHookView};
use crate::domain::message::message;
use crate::domain::principal::Caller;
use crate::domain::push_hook::{self, MAX_RULES};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::time;
use rule::PushHookRule;

/// Rules of a push hook.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PushHookBody {
    /// Display name of the hook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "shop", min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// Rules in their order: the first that matches a push starts a deployment. 1 to 50.
    #[schema(min_items = 1, max_items = 50)]
    pub rules: Vec<PushHookRule>,
    /// `false` ignores what is received; enabled when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub enabled: Option<bool>,
}

impl PushHookBody {
    /// Validates all fields, and that the caller may use the connections of each rule.
    async fn check(self, state: &ApiState, caller: &Caller) -> Result<PushHookSettings, ApiError> {
        if let Some(name) = &self.name {
            push_hook::name(name).map_err(|rule| ApiError::field("name", rule))?;
        }
        if !(1..=MAX_RULES).contains(&self.rules.len()) {
            return Err(ApiError::field("rules", message!("rule.push_rules", max = MAX_RULES)));
        }
        let mut rules = Vec::with_capacity(self.rules.len());
        for (n, rule) in self.rules.into_iter().enumerate() {
            rules.push(rule.check(state, caller, &format!("rules[{n}]")).await?);
        }
        Ok(PushHookSettings { name: self.name, rules, enabled: self.enabled.unwrap_or(true) })
    }
}

/// A push hook with its rules.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PushHook)]
pub struct ShownPushHook {
    /// Id for `GET /api/v1/hooks/{id}`.
    #[schema(example = "hok_4k1zq0v7w3m9x2c8b5n6")]
    pub hook_id: String,
    /// Path of the address to which GitHub sends: the Payload URL is that of this server, followed by it.
    #[schema(example = "/api/v1/hooks/github/hok_4k1zq0v7w3m9x2c8b5n6")]
    pub payload_path: String,
    /// Display name; null when it has none.
    #[schema(example = "shop")]
    pub name: Option<String>,
    /// Rules in their order.
    pub rules: Vec<PushHookRule>,
    /// Repositories of the rules.
    #[schema(example = json!(["acme/shop"]))]
    pub repositories: Vec<String>,
    /// False while it ignores what it receives.
    pub enabled: bool,
    /// Owner: the caller who created the hook or changed it last, with whose permission it acts.
    #[schema(example = "alice")]
    pub made_by: String,
    /// Times until which earlier secrets are accepted as well, after a rotation (UTC).
    #[serde(serialize_with = "time::list_of_millis")]
    pub previous_secrets_until: Vec<DateTime<Utc>>,
    /// Time of its creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
    /// Time of the last change (UTC).
    #[serde(serialize_with = "time::millis")]
    pub updated_at: DateTime<Utc>,
}

impl From<PushHookView> for ShownPushHook {
    fn from(row: PushHookView) -> Self {
        Self {
            payload_path: format!("/api/v1/hooks/github/{}", row.id),
            hook_id: row.id,
            name: row.name,
            rules: row.rules.0.into_iter().map(PushHookRule::from).collect(),
            repositories: row.repositories,
            enabled: row.enabled,
            made_by: row.made_by,
            previous_secrets_until: row.previous_secrets_until,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A push hook with a new secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushHookWithSecret {
    /// Secret for the settings of the webhook at GitHub. It cannot be shown again: null where the request repeats an earlier one.
    #[schema(example = "phs_0000000000000000000000000000000000000000000000000000000000000000")]
    pub secret: Option<String>,
    /// The push hook as it is listed.
    pub hook: ShownPushHook,
}
