//! A webhook or channel as templates show it.

use chrono::{DateTime, Utc};

use super::facts::{self, Fact};
use crate::db::receivers::ReceiverView;
use crate::db::receivers::failures::ReceiverFailure;
use crate::domain::receiver::{ReceiverFamily, ReceiverKind};
use crate::domain::text::visible;
use crate::http::page::context::Page;

/// A webhook or channel with its state.
pub struct ReceiverRow {
    /// Id of the receiver.
    pub id: String,
    /// `webhooks` or `channels`: the part of paths.
    pub family: &'static str,
    /// `webhook`, `slack`, `teams`, `discord`, `mail` or `github`.
    pub kind: &'static str,
    /// Its purpose, else where events go.
    pub title: String,
    /// Address, channel or mailbox to which events go.
    pub target: String,
    /// `active`, `disabled` (by a caller) or `gone` (the receiver exists no longer).
    pub state: &'static str,
    /// When it was disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Types and codes of its events; none for all, or where the kind decides.
    pub events: Option<String>,
    /// Repositories whose events it gets; none for all.
    pub repositories: Option<String>,
    /// Number of accepted events.
    pub delivered: i64,
    /// Number of deliveries that are tried again or wait.
    pub pending: i64,
    /// Number of dead letters.
    pub dead: i64,
    /// When it last accepted an event.
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// When a delivery that is not delivered yet last failed, and why.
    pub last_failure: Option<(DateTime<Utc>, String)>,
    /// Settings of the kind.
    pub facts: Vec<Fact>,
    /// Ends of earlier secrets after a rotation.
    pub previous_secrets_until: Vec<DateTime<Utc>>,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

impl ReceiverRow {
    /// Prepares a receiver for templates.
    pub fn of(page: &Page, row: ReceiverView, failure: Option<ReceiverFailure>) -> Self {
        let settings = row.settings.0;
        let kind = settings.kind();
        let target = facts::target(&settings);
        let joined = |names: Vec<String>| visible(&names.join(", "));
        Self {
            facts: facts::of(page, &settings, &row.labels.0, &row.lang),
            family: if kind.family() == ReceiverFamily::Webhooks { "webhooks" } else { "channels" },
            kind: kind.as_str(),
            title: row.description.as_deref().map_or_else(|| target.clone(), visible),
            target,
            state: match (row.disabled_at, row.disabled_reason.as_deref()) {
                (None, _) => "active",
                (Some(_), Some("gone")) => "gone",
                (Some(_), _) => "disabled",
            },
            disabled_at: row.disabled_at,
            events: row.events.filter(|_| kind != ReceiverKind::GitHub).map(joined),
            repositories: row.repositories.map(joined),
            delivered: row.delivered,
            pending: row.pending,
            dead: row.dead,
            last_delivered_at: row.last_delivered_at,
            last_failure: failure.map(|failure| (failure.failed_at, visible(&failure.error))),
            previous_secrets_until: row.previous_secrets_until,
            created_by: page.author(&row.created_by),
            created_at: row.created_at,
            id: row.id,
        }
    }

    /// True while it receives events.
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }

    /// Path of the receiver in the API.
    pub fn api(&self) -> String {
        format!("/api/v1/{}/{}", self.family, self.id)
    }

    /// Members of its settings that a change must repeat.
    pub fn members(&self) -> &'static str {
        members(self.family)
    }

    /// Numbers of deliveries in words.
    pub fn counts(&self, page: &Page) -> String {
        let (delivered, pending, dead) = (self.delivered.to_string(), self.pending.to_string(), self.dead.to_string());
        page.fill("integrations.counts", &[("delivered", delivered.as_str()), ("pending", &pending), ("dead", &dead)])
    }
}

fn members(family: &str) -> &'static str {
    match family {
        "webhooks" => "url description events repositories labels language",
        _ => "kind slack mail github description events repositories labels language quietHours mentions",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::members;

    #[test]
    fn change_repeats_every_member_of_the_body() {
        let document = serde_json::to_value(crate::http::document()).unwrap();
        for (family, schema) in [("webhooks", "WebhookRequestBody"), ("channels", "ChannelRequestBody")] {
            let fields = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
            let fields = fields.keys().map(String::as_str).filter(|name| !["enabled", "secret"].contains(name));
            assert_eq!(fields.collect::<BTreeSet<_>>(), members(family).split(' ').collect(), "{family}");
        }
    }
}
