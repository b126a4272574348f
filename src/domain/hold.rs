//! Holds: what keeps a deployment from its start or its switch now, a freeze or the windows of its target's policy, and the events about it.

use chrono::{DateTime, SecondsFormat, Utc};

use super::catalogue::EventCode;
use super::event::Event;
use super::freeze::{Act, Freeze, PendingFreezes, Place};
use super::policy::Policy;

/// What holds a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldCause {
    /// Of the freezes in force, the one that ends last.
    Freeze(Freeze),
    /// The windows of the policy are closed.
    Window,
}

/// A deployment that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The freeze or the windows that hold it.
    pub cause: HoldCause,
    /// The end of the freeze, or of one that follows it without a gap; the next opening of a window. None if no window opens.
    pub until: Option<DateTime<Utc>>,
}

impl Hold {
    /// Returns what holds an act at a place now: a freeze, else the windows of the policy.
    pub fn of(pending: &PendingFreezes, place: &Place, act: Act, policy: Option<&Policy>) -> Option<Self> {
        if let Some((freeze, until)) = pending.hold(place, act) {
            return Some(Self { cause: HoldCause::Freeze(freeze), until: Some(until) });
        }
        let until = policy?.next_window(act, pending.now)?;
        Some(Self { cause: HoldCause::Window, until })
    }

    /// The event of a start that is held, once for each freeze and each closed time.
    pub fn held(&self) -> Event {
        match &self.cause {
            HoldCause::Freeze(freeze) => self.event(EventCode::DeploymentFrozen).keyed(&freeze.id),
            HoldCause::Window => self.event(EventCode::WindowAwaited).keyed(self.until_text()),
        }
    }

    /// Id of the freeze; none for windows.
    pub fn freeze_id(&self) -> Option<&str> {
        match &self.cause {
            HoldCause::Freeze(freeze) => Some(&freeze.id),
            HoldCause::Window => None,
        }
    }

    /// The end as events and errors show it.
    pub fn until_text(&self) -> String {
        self.until.map_or_else(|| "-".to_owned(), |until| until.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// The event of an override, in the stage of its act.
    pub fn overridden(&self, act: Act, by: &str, reason: &str) -> Event {
        let stage = match act {
            Act::Start => 1,
            Act::Switch => 4,
        };
        let event = match &self.cause {
            HoldCause::Freeze(freeze) => {
                self.event(EventCode::FreezeOverridden).keyed(format_args!("{stage}:{}", freeze.id))
            }
            HoldCause::Window => self.event(EventCode::WindowOverridden).keyed(stage),
        };
        event.with("stage", stage).with("by", by).with("override", reason)
    }

    fn event(&self, code: EventCode) -> Event {
        let event = Event::new(code).with("until", self.until_text());
        match &self.cause {
            HoldCause::Freeze(freeze) => event.with("freeze", freeze.id.as_str()).with("why", freeze.reason.as_str()),
            HoldCause::Window => event,
        }
    }
}
