//! `GET /policies/{owner}/{repo}`: the policy of a repository, or of one of its targets (`?accountId=…&region=…`), with its versions and the form that
//! stores the next one.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::gates::{GateFields, lines};
use super::rules::members_as_json;
use super::{TargetLink, VersionRow, version_row};
use crate::db::policies::PolicyTarget;
use crate::domain::policy::{MAX_MINUTES, Policy, TimeWindow};
use crate::domain::principal::{Caller, Role};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::page::context::{Page, Visitor, render};
use crate::http::routes::policies::TargetQuery;
use crate::http::routes::policies::path::RepositoryPath;

/// Versions that are shown.
const SHOWN: i64 = 30;

/// Largest number of targets that the view links.
const MAX_TARGETS: i64 = 50;

/// The target in the address. Empty members are none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetPosition {
    account_id: String,
    region: String,
}

/// Values of the fields of a window. Empty ones are not set.
#[derive(Default)]
struct WindowFields {
    cron: String,
    time_zone: String,
    minutes: String,
    permits: String,
}

impl WindowFields {
    fn of(window: &TimeWindow) -> Self {
        let TimeWindow { cron, time_zone, minutes, permits } = window.clone();
        Self { cron, time_zone, minutes: minutes.to_string(), permits }
    }

    /// True for the chosen acts.
    fn does_permit(&self, acts: impl AsRef<str>) -> bool {
        self.permits == acts.as_ref()
    }
}

/// Values of the form.
struct PolicyForm {
    windows: Vec<WindowFields>,
    /// A window that is added.
    blank: WindowFields,
    count: String,
    four_eyes: bool,
    minutes: String,
    gates: Vec<GateFields>,
    /// A gate that is added.
    blank_gate: GateFields,
    /// Empty where an approver requests each switch.
    auto_switch: String,
    /// A label on each line, `team=payments`.
    labels: String,
    /// Members without fields, by name, as JSON.
    others: Vec<(String, String)>,
}

impl PolicyForm {
    fn of(policy: &Policy) -> Self {
        Self {
            others: members_as_json(policy),
            labels: lines(&policy.labels.0),
            gates: policy.gates.iter().map(GateFields::of).collect(),
            blank_gate: GateFields::blank(),
            auto_switch: if policy.auto_switch.is_never() { String::new() } else { policy.auto_switch.to_string() },
            windows: policy.windows.iter().map(WindowFields::of).collect(),
            blank: WindowFields::default(),
            count: policy.approvals.count.to_string(),
            four_eyes: policy.approvals.four_eyes,
            minutes: policy.approvals.minutes.map(|minutes| minutes.to_string()).unwrap_or_default(),
        }
    }

    /// Longest time of windows and approvals, in minutes.
    const MAX_MINUTES: u32 = MAX_MINUTES;
}

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyView {
    page: Page,
    link: TargetLink,
    /// Other targets of the repository.
    targets: Vec<TargetLink>,
    /// The version in force, then the earlier ones.
    versions: Vec<VersionRow>,
    /// The repository's policy, which is in force for a target that has none.
    inherited: Option<VersionRow>,
    form: PolicyForm,
    may_change: bool,
}

/// Shows the policy of a repository or target, with its versions.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    RepositoryPath(repository): RepositoryPath,
    QueryParams(at): QueryParams<TargetPosition>,
) -> Result<Response, ApiError> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let query = TargetQuery { account_id: some(at.account_id), region: some(at.region) };
    let target = query.target(&state, repository)?;
    // What is outside the scope does not exist for the caller.
    let visible = caller.scope().holds(&target.owner, &target.repo);
    let stored = if visible { state.db.policy_versions(&target, SHOWN).await? } else { Vec::new() };
    let whole = PolicyTarget { account_id: String::new(), region: String::new(), ..target.clone() };
    let of_repository = visible && stored.is_empty() && target != whole;
    let inherited = if of_repository { state.db.policy_versions(&whole, 1).await?.into_iter().next() } else { None };
    let begins_with = stored.first().or(inherited.as_ref()).map(|version| version.policy.0.clone());
    let form = PolicyForm::of(&begins_with.unwrap_or_default());
    let targets = targets(&state, &caller, &target).await?;
    let may_change = visible && page.may(Role::Admin.as_str());
    let versions = stored.iter().map(|version| version_row(&page, version)).collect();
    let inherited = inherited.map(|version| version_row(&page, &version));
    let link = TargetLink::of(&target);
    render(&page.clone(), &PolicyView { page, link, targets, versions, inherited, form, may_change })
}

/// The repository as a whole, the targets with a policy, and those of the connected accounts, without the one that is shown.
async fn targets(state: &ApiState, caller: &Caller, shown: &PolicyTarget) -> Result<Vec<TargetLink>, ApiError> {
    let repository = (shown.owner.as_str(), shown.repo.as_str());
    let mut places = BTreeSet::from([(String::new(), String::new())]);
    for row in state.db.newest_policies(caller.scope(), Some(repository), MAX_TARGETS).await? {
        places.insert((row.target.account_id, row.target.region));
    }
    for connection in state.db.aws_connections(caller.scope()).await? {
        places.insert((connection.account_id, connection.region));
    }
    let links = places.into_iter().map(|(account_id, region)| PolicyTarget { account_id, region, ..shown.clone() });
    let most = usize::try_from(MAX_TARGETS).unwrap_or_default();
    Ok(links.filter(|target| target != shown).take(most).map(|target| TargetLink::of(&target)).collect())
}
