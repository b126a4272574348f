//! Freezes and windows in the requests and responses of deployments: the override, and what holds one.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::db::deployments::DeploymentView;
use crate::domain::deployment::Status;
use crate::domain::freeze::{Act, Freeze, Place};
use crate::domain::hold::{Hold, HoldCause};
use crate::domain::message::message;
use crate::domain::policy::Policy;
use crate::domain::validate;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::time;

// ---- Request

/// An approver's reason for which neither freezes nor the policy's windows hold this request. Without either it has no effect.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FreezeOverride {
    /// Reason, which audit and events show; 1 to 500 characters.
    #[schema(example = "Checkout is down", min_length = 1, max_length = 500)]
    pub reason: String,
}

impl FreezeOverride {
    /// Reads the member `override` of a body that has no meaning beside its known members.
    ///
    /// # Errors
    /// It is no object with a valid reason.
    pub fn of(body: &Value) -> Result<Option<String>, ApiError> {
        match body.get("override") {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => match Self::deserialize(value) {
                Ok(given) => given.checked().map(Some),
                Err(_) => Err(ApiError::field("override", message!("rule.override"))),
            },
            Some(_) => Err(ApiError::field("override", message!("rule.override"))),
        }
    }

    /// Returns the reason.
    ///
    /// # Errors
    /// The reason breaks its rule.
    pub fn checked(self) -> Result<String, ApiError> {
        validate::reason(&self.reason).map_err(|rule| ApiError::field("override.reason", rule))?;
        Ok(self.reason)
    }
}

// ---- Response

/// What holds a deployment: a freeze, or the windows of its target's policy.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldBy {
    /// `freeze`, or `window` for the windows of the policy.
    #[schema(example = "freeze")]
    pub cause: &'static str,
    /// What is held: `start` (the deployment waits in the queue) or `switch`.
    #[schema(example = "start")]
    pub held: &'static str,
    /// Id of the freeze: of several, the one that ends last. Null for windows.
    #[schema(example = "frz_4k1zq0v7w3m9x2c8b5n6")]
    pub freeze_id: Option<String>,
    /// Reason in the words of the freeze's author; null for windows.
    #[schema(example = "Christmas sale")]
    pub reason: Option<String>,
    /// Caller who created the freeze; null for windows.
    #[schema(example = "alice")]
    pub created_by: Option<String>,
    /// Time until which it is held (UTC): the end of the freeze, or of one that follows without a gap; the next opening of a window. Null if none opens.
    #[serde(serialize_with = "time::optional_millis")]
    pub until: Option<DateTime<Utc>>,
}

impl HeldBy {
    /// The response for what holds this act.
    pub fn new(hold: &Hold, act: Act) -> Self {
        let what = match act {
            Act::Start => "start",
            Act::Switch => "switch",
        };
        let until = hold.until;
        match hold.cause.clone() {
            HoldCause::Freeze(Freeze { id, reason, created_by, .. }) => {
                let (freeze_id, reason, created_by) = (Some(id), Some(reason), Some(created_by));
                Self { cause: "freeze", held: what, freeze_id, reason, created_by, until }
            }
            HoldCause::Window => {
                Self { cause: "window", held: what, freeze_id: None, reason: None, created_by: None, until }
            }
        }
    }

    /// Returns what holds a deployment now: its start while it is queued, its switch while it is ready.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of(state: &ApiState, row: &DeploymentView) -> Result<Option<Self>, ApiError> {
        Ok(Self::of_all(state, std::slice::from_ref(row)).await?.pop().flatten())
    }

    /// Returns what holds each of these deployments now, in their order. Reads the freezes once, and the policies of all places with queued ones together.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of_all(state: &ApiState, rows: &[DeploymentView]) -> Result<Vec<Option<Self>>, ApiError> {
        let acts: Vec<Option<Act>> = rows.iter().map(held_act).collect();
        if acts.iter().all(Option::is_none) {
            return Ok(acts.iter().map(|_| None).collect());
        }
        let pending = state.db.pending_freezes().await?;
        let queued = rows.iter().zip(&acts).filter(|(_, act)| **act == Some(Act::Start)).map(|(row, _)| place_of(row));
        let queued: Vec<Place> = queued.collect::<HashSet<_>>().into_iter().collect();
        let policies = if queued.is_empty() { Vec::new() } else { state.db.policies_in_force(&queued).await? };
        let in_force: HashMap<Place, Option<Policy>> = queued.into_iter().zip(policies).collect();
        let held = |(row, act): (&DeploymentView, Option<Act>)| {
            let (act, place) = (act?, place_of(row));
            let policy = match act {
                Act::Start => in_force.get(&place).and_then(Option::as_ref),
                Act::Switch => row.policy.as_ref().map(|policy| &policy.0),
            };
            Hold::of(&pending, &place, act, policy).map(|hold| Self::new(&hold, act))
        };
        Ok(rows.iter().zip(acts).map(held).collect())
    }
}

fn place_of(row: &DeploymentView) -> Place {
    Place {
        owner: row.owner.clone(),
        repo: row.repo.clone(),
        account_id: row.account_id.clone(),
        region: row.region.clone(),
    }
}

/// The act of a deployment that freezes and windows may hold now.
fn held_act(row: &DeploymentView) -> Option<Act> {
    let ready = row.status == Status::DeploymentReady.as_str() && row.switch_requested_at.is_none();
    match row.queue_position {
        _ if row.rolls_back => None,
        Some(_) if !row.freeze_overridden => Some(Act::Start),
        None if ready => Some(Act::Switch),
        _ => None,
    }
}
