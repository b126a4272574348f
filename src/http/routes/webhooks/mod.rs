//! `/api/v1/webhooks`: receivers of events outside Panda.

pub mod change;
pub mod create;
pub mod delete;
pub mod deliveries;
pub mod error;
pub mod list;
pub mod path;
pub mod secret;
pub mod show;
pub mod test;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::receivers::ReceiverView;
use crate::domain::catalogue::Lang;
use crate::domain::labels::Labels;
use crate::domain::message::message;
use crate::domain::principal::Scope;
use crate::domain::receiver::filter::{self, EventFilter};
use crate::domain::receiver::{ReceiverConfig, ReceiverSettings};
use crate::domain::webhook;
use crate::http::error::ApiError;
use crate::http::time;

/// Address and filter of a webhook.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct WebhookRequestBody {
    /// Address of the receiver, `https` (or `http` within your network), which may not lead to this machine: the rules of health checks apply.
    #[schema(example = "https://hooks.example.com/panda", max_length = 2000)]
    pub url: String,
    /// Purpose, 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "deployments to the status page", min_length = 1, max_length = 500)]
    pub description: Option<String>,
    /// Types (`stage`, `success`, `fail`) and codes (`ready`, `completed`, `build_failed`, …) of the events that it receives; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["success", "fail"]), min_items = 1, max_items = 100)]
    pub events: Option<Vec<String>>,
    /// Repositories whose events it receives, `owner/repo` or `owner/*`; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = json!(["acme/shop"]), min_items = 1, max_items = 100)]
    pub repositories: Option<Vec<String>>,
    /// Labels that deployments must have for their events to be received, each with its value, up to 8; all deployments when absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(example = json!({"environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Language of messages: `ko`, the default, or `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "en", pattern = "^(ko|en)$")]
    pub language: Option<String>,
    /// `false` disables it; enabled when absent. A webhook that is enabled again receives the events from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    pub enabled: Option<bool>,
}

impl WebhookRequestBody {
    fn check(self) -> Result<ReceiverConfig, ApiError> {
        let url = webhook::url(&self.url).map_err(|rule| ApiError::field("url", rule))?;
        if let Some(description) = &self.description {
            filter::description(description).map_err(|rule| ApiError::field("description", rule))?;
        }
        if let Some(events) = &self.events {
            filter::events(events).map_err(|rule| ApiError::field("events", rule))?;
        }
        let repositories = self.repositories.as_deref().map_or(Ok(Scope::All), Scope::of);
        let repositories = repositories.map_err(|rule| ApiError::field("repositories", rule))?;
        let unknown = |_| ApiError::field("language", message!("rule.expected", expected = "ko or en"));
        let lang = self.language.as_deref().map_or(Ok(Lang::default()), str::parse).map_err(unknown)?;
        Ok(ReceiverConfig {
            settings: ReceiverSettings::Webhook { url: url.into() },
            description: self.description,
            filter: EventFilter { events: self.events, repositories, labels: Labels(self.labels).checked()? },
            lang,
            enabled: self.enabled.unwrap_or(true),
        })
    }
}

/// A webhook, with the state of its deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct ShownWebhook {
    /// Id for `GET /api/v1/webhooks/{id}`.
    #[schema(example = "whk_4k1zq0v7w3m9x2c8b5n6")]
    pub webhook_id: String,
    /// Address of the receiver.
    #[schema(example = "https://hooks.example.com/panda")]
    pub url: String,
    /// Purpose; null when none was given.
    pub description: Option<String>,
    /// Types and codes of the events that it receives; null for all.
    pub events: Option<Vec<String>>,
    /// Repositories whose events it receives; null for all.
    pub repositories: Option<Vec<String>>,
    /// Labels that deployments must have; empty for all deployments.
    #[schema(example = json!({"environment": "production"}))]
    pub labels: BTreeMap<String, String>,
    /// Language of messages: `ko` or `en`.
    #[schema(example = "en")]
    pub language: String,
    /// False while it receives no events.
    pub enabled: bool,
    /// `caller` (by the API) or `gone` (the receiver answered 410); null while it is enabled.
    pub disabled_reason: Option<String>,
    /// Time at which it was disabled (UTC); null while it is enabled.
    #[serde(serialize_with = "time::optional_millis")]
    pub disabled_at: Option<DateTime<Utc>>,
    /// Number of events that the receiver accepted.
    pub delivered: i64,
    /// Number of deliveries that are tried again, or wait behind one that is.
    pub pending: i64,
    /// Number of deliveries whose last attempt failed: dead letters.
    pub dead: i64,
    /// Time at which the receiver last accepted an event (UTC); null before the first.
    #[serde(serialize_with = "time::optional_millis")]
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Times until which earlier secrets sign as well, after a rotation (UTC).
    #[serde(serialize_with = "time::list_of_millis")]
    pub previous_secrets_until: Vec<DateTime<Utc>>,
    /// Caller who created it.
    #[schema(example = "alice")]
    pub created_by: String,
    /// Time of its creation (UTC).
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

impl From<ReceiverView> for ShownWebhook {
    fn from(row: ReceiverView) -> Self {
        let url = match row.settings.0 {
            ReceiverSettings::Webhook { url } => url,
            // The query selects webhooks only.
            _ => String::new(),
        };
        Self {
            webhook_id: row.id,
            url,
            description: row.description,
            events: row.events,
            repositories: row.repositories,
            labels: row.labels.0.0,
            language: row.lang,
            enabled: row.disabled_at.is_none(),
            disabled_reason: row.disabled_reason,
            disabled_at: row.disabled_at,
            delivered: row.delivered,
            pending: row.pending,
            dead: row.dead,
            last_delivered_at: row.last_delivered_at,
            previous_secrets_until: row.previous_secrets_until,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

/// A webhook with a new secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookWithSecret {
    /// Secret with which the receiver verifies signatures. It cannot be shown again: null where the request repeats an earlier one.
    #[schema(example = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")]
    pub secret: Option<String>,
    /// The webhook as it is listed.
    pub webhook: ShownWebhook,
}
