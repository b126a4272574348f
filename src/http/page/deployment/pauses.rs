//! Approvals of the switch, and the pauses of ECS's rollout: each with the share of the traffic, its end, and who approved it.

use chrono::{DateTime, Utc};

use super::timeline::TimelineEntry;
use crate::db::deployments::DeploymentView;
use crate::domain::text::visible;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::routes::deploy::result::ShownPause;

/// Stages at which ECS's hooks may wait, for which the view has words.
const STAGES: [&str; 6] = [
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
];

/// What AWS may do at the end of a pause, for which the view has words.
const TIMEOUT_ACTIONS: [&str; 2] = ["ROLLBACK", "CONTINUE"];

/// An approval, or the request of the switch.
#[derive(Clone)]
pub struct GivenApproval {
    pub by: String,
    pub at: DateTime<Utc>,
}

/// A pause of the rollout.
pub struct PauseRow {
    /// Id to which the switch is bound.
    pub id: String,
    /// Place in the rollout, from 1.
    pub number: usize,
    /// Name of the stage in the catalogue of texts, if it has one.
    pub stage_words: Option<String>,
    /// ECS's names of stage and hook.
    pub stage: String,
    pub hook: String,
    /// Percentage of the traffic on green.
    pub green: Option<f64>,
    pub until: Option<DateTime<Utc>>,
    /// Name of what AWS does then, in the catalogue of texts.
    pub timeout: Option<String>,
    /// `awaiting`, `approved` or `ended` (at AWS, or with the deployment).
    pub state: &'static str,
    pub approvals: Vec<GivenApproval>,
}

/// Approvals that the present switch has and needs.
pub struct SwitchApprovals {
    /// Number of approvers that the policy needs.
    pub needed: usize,
    pub given: Vec<GivenApproval>,
    /// End of the time in which the policy accepts approvals.
    pub until: Option<DateTime<Utc>>,
    /// The caller has approved already.
    pub by_caller: bool,
}

impl SwitchApprovals {
    /// True if the next approval switches.
    pub fn is_last(&self) -> bool {
        self.given.len() + 1 >= self.needed
    }
}

/// Reads the pauses, with their approvals, and the approvals of the present switch. `caller` is none where callers do not sign in.
///
/// # Errors
/// The database failed.
pub async fn read(
    state: &ApiState,
    row: &DeploymentView,
    timeline: &[TimelineEntry],
    caller: Option<&str>,
) -> Result<(Vec<PauseRow>, SwitchApprovals), ApiError> {
    let events = state.db.events_of(&row.id, &["awaiting_switch".to_owned()]).await?;
    let begun: Vec<DateTime<Utc>> =
        events.iter().filter(|event| event.attempt == row.attempt).map(|event| event.created_at).collect();
    let known = row.facts.pauses.clone().unwrap_or_default();
    let mut pauses = Vec::with_capacity(known.len());
    let count = known.len();
    for (at, seen) in known.into_iter().map(ShownPause::from).enumerate() {
        let approvals = between(timeline, begin(&begun, at, count), begin(&begun, at + 1, count));
        pauses.push(pause(row, (at, count), seen, approvals));
    }
    let policy = row.policy.as_ref().map(|policy| &policy.0).filter(|_| !row.rolls_back);
    let given: Vec<GivenApproval> = match begun.last() {
        Some(since) => of_action(timeline, &["approve"], Some(*since), None),
        None => Vec::new(),
    };
    let approvals = SwitchApprovals {
        needed: policy.map_or(1, |policy| usize::try_from(policy.approvals.count).unwrap_or(1)),
        by_caller: caller.is_some_and(|caller| given.iter().any(|approval| approval.by == visible(caller))),
        given,
        until: policy.zip(row.ready_at).and_then(|(policy, ready_at)| policy.approvals_until(ready_at)),
    };
    Ok((pauses, approvals))
}

/// Returns when the pause at `at` of `count` began: each has an event, of which retention may have removed the oldest.
fn begin(begun: &[DateTime<Utc>], at: usize, count: usize) -> Option<DateTime<Utc>> {
    (at + begun.len()).checked_sub(count).and_then(|at| begun.get(at)).copied()
}

fn between(
    timeline: &[TimelineEntry],
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Vec<GivenApproval> {
    if since.is_none() {
        return Vec::new();
    }
    of_action(timeline, &["approve", "switch"], since, until)
}

fn of_action(
    timeline: &[TimelineEntry],
    actions: &[&str],
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Vec<GivenApproval> {
    let is_in = |at: DateTime<Utc>| since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until);
    let found = timeline.iter().filter(|entry| actions.contains(&entry.action.as_str()) && is_in(entry.at));
    let subject = |entry: &TimelineEntry| visible(entry.subject.as_deref().unwrap_or_default());
    found.map(|entry| GivenApproval { by: subject(entry), at: entry.at }).collect()
}

fn pause(
    row: &DeploymentView,
    (at, count): (usize, usize),
    seen: ShownPause,
    approvals: Vec<GivenApproval>,
) -> PauseRow {
    let is_last = at + 1 == count;
    let awaits = is_last && row.status == "DEPLOYMENT_READY" && row.switch_requested_at.is_none();
    let switched = approvals.iter().len() > 0;
    let stage = seen.stage.unwrap_or_default();
    let timeout = seen.timeout_action.filter(|action| TIMEOUT_ACTIONS.contains(&action.as_str()));
    PauseRow {
        id: seen.pause_id,
        number: at + 1,
        stage_words: STAGES.contains(&stage.as_str()).then(|| format!("pauses.stage.{stage}")),
        stage: visible(&stage),
        hook: visible(&seen.hook_id.unwrap_or_default()),
        green: seen.green_weight,
        until: seen.until.filter(|_| awaits),
        timeout: timeout.filter(|_| awaits).map(|action| format!("pauses.timeout.{action}")),
        state: match (awaits, switched) {
            (true, _) => "awaiting",
            (false, true) => "approved",
            (false, false) => "ended",
        },
        approvals,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn approvals_belong_to_the_pause_in_which_they_were_given() {
        let entry = |second: i64, action: &str, subject: &str| TimelineEntry {
            at: at(second),
            action: action.to_owned(),
            subject: Some(subject.to_owned()),
            role: None,
            code: None,
        };
        let timeline =
            [entry(1, "deploy", "a"), entry(11, "approve", "b"), entry(12, "switch", "c"), entry(21, "switch", "d")];
        let by = |since, until| between(&timeline, since, until).into_iter().map(|given| given.by).collect::<Vec<_>>();
        let begun = [at(10), at(20)];
        assert_eq!(by(begin(&begun, 0, 2), begin(&begun, 1, 2)), ["b", "c"]);
        assert_eq!(by(begin(&begun, 1, 2), begin(&begun, 2, 2)), ["d"]);
        // Of three pauses the event of the first was removed.
        assert_eq!(by(begin(&begun, 0, 3), begin(&begun, 1, 3)), Vec::<String>::new());
        assert_eq!(by(begin(&begun, 1, 3), begin(&begun, 2, 3)), ["b", "c"]);
    }
}
