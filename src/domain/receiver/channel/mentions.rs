//! People whom a channel notifies when a switch awaits its approval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address;
use crate::domain::message::message;
use crate::domain::receiver::ReceiverKind;
use crate::domain::validate::BrokenRule;

/// Most people and groups of a channel.
const MAX: usize = 50;

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 255;

/// Ids that the kind of the channel knows: users and groups of Slack, users and roles of Discord, sign-in names of Teams, mail addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Mentions {
    /// Ids that are always notified, such as a group of approvers.
    pub default: Vec<String>,
    /// Approvers: ids by their subjects in Panda.
    pub subjects: BTreeMap<String, String>,
}

impl Mentions {
    /// Checks ids and subjects.
    ///
    /// # Errors
    /// There are too many, or one that the kind does not have.
    pub fn check(&self, kind: ReceiverKind) -> Result<(), BrokenRule> {
        if self.default.len() + self.subjects.len() > MAX {
            return Err(message!("rule.mentions_size", max = MAX));
        }
        let fits = |subject: &&String| {
            (1..=MAX_SUBJECT).contains(&subject.chars().count()) && !subject.chars().any(char::is_control)
        };
        if !self.subjects.keys().all(|subject| fits(&subject)) {
            return Err(message!("rule.mention_subject", max = MAX_SUBJECT));
        }
        self.default.iter().chain(self.subjects.values()).try_for_each(|id| check_id(kind, id))
    }

    /// Returns the ids to notify: all but that of the caller who started the deployment.
    pub fn awaited(&self, started_by: Option<&str>) -> Vec<String> {
        let own = started_by.and_then(|subject| self.subjects.get(subject));
        let mut ids: Vec<String> = Vec::new();
        for id in self.default.iter().chain(self.subjects.values()) {
            if Some(id) != own && !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        ids
    }
}

fn check_id(kind: ReceiverKind, id: &str) -> Result<(), BrokenRule> {
    let alphanumeric = |text: &str| text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let digits = |text: &str| (5..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let fits = match kind {
        ReceiverKind::Slack => (9..=30).contains(&id.len()) && id.starts_with(['U', 'W', 'S']) && alphanumeric(id),
        ReceiverKind::Discord => digits(id.strip_prefix('&').unwrap_or(id)),
        ReceiverKind::Teams | ReceiverKind::Mail => address::mail(id).is_ok(),
        ReceiverKind::Webhook | ReceiverKind::GitHub => false,
    };
    if fits { Ok(()) } else { Err(message!("rule.mention", value = format!("{id:?}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_kind() {
        let one = |id: &str| Mentions { default: vec![id.to_owned()], subjects: BTreeMap::new() };
        one("S0123456789").check(ReceiverKind::Slack).unwrap();
        one("&123456789012345678").check(ReceiverKind::Discord).unwrap();
        one("ops@example.com").check(ReceiverKind::Mail).unwrap();
        for (kind, wrong) in [
            (ReceiverKind::Slack, "!channel"),
            (ReceiverKind::Slack, "U1> <!here"),
            (ReceiverKind::Discord, "everyone"),
            (ReceiverKind::Mail, "ops"),
        ] {
            one(wrong).check(kind).unwrap_err();
        }
    }

    #[test]
    fn who_started_it_is_not_awaited() {
        let subjects = [("alice", "U1"), ("bob", "U2")].map(|(subject, id)| (subject.to_owned(), id.to_owned()));
        let mentions = Mentions { default: vec!["S1".to_owned(), "U2".to_owned()], subjects: subjects.into() };
        assert_eq!(mentions.awaited(Some("alice")), ["S1", "U2"]);
        assert_eq!(mentions.awaited(None), ["S1", "U2", "U1"]);
    }
}
