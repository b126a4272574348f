//! `GET /deployments/{id}`: one deployment, with its stages, both sides, its log and who did what.

mod actions;
mod gates;
mod pauses;
mod rollback;
mod stages;
mod timeline;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use self::actions::Actions;
use self::gates::GateRow;
use self::pauses::{PauseRow, SwitchApprovals};
use self::rollback::RollbackOffer;
use self::stages::StageRow;
use self::timeline::TimelineEntry;
use super::context::{Page, Visitor, render};
use super::deployments::source_text;
use super::log::LogPart;
use crate::commands::switch::needs_other_approver;
use crate::db::deployments::stages::TargetKey;
use crate::db::deployments::targets::LiveDeployment;
use crate::domain::reason::Reason;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::routes::deploy::not_found::not_found;
use crate::http::routes::deploy::path::DeploymentId;
use crate::http::routes::deploy::result::{DeploymentResult, deployment, result_of};

#[derive(Template)]
#[template(path = "deployment.html")]
struct DeploymentView {
    page: Page,
    /// What the API's result has.
    result: DeploymentResult,
    /// Branch, or what else was requested.
    source: String,
    account_id: String,
    region: String,
    started_by: Option<String>,
    /// Stored name of the step.
    step: String,
    waiting_for: Option<String>,
    switching: bool,
    cancelling: bool,
    /// AWS is taking the traffic back.
    rolling_back: bool,
    offer: Option<RollbackOffer>,
    stages: Vec<StageRow>,
    gates: Vec<GateRow>,
    live: Option<LiveDeployment>,
    timeline: Vec<TimelineEntry>,
    actions: Actions,
    /// Pauses of ECS's rollout; empty for CodeDeploy.
    pauses: Vec<PauseRow>,
    approvals: SwitchApprovals,
    log: LogPart,
}

impl DeploymentView {
    /// Name of the status's icon, which the browser's tab shows.
    fn icon(&self) -> String {
        self.result.status.to_lowercase()
    }

    /// Percentage of the traffic on green; none while there is no green side.
    fn green_weight(&self) -> Option<f64> {
        match (self.result.final_service.as_deref(), self.result.status.as_str()) {
            (Some("green"), _) => Some(100.0),
            (Some(_), _) | (None, "DEPLOYMENT_READY") => {
                let paused = self.pauses.last().and_then(|pause| pause.green);
                Some(self.result.green_weight.or(paused).unwrap_or(0.0))
            }
            _ => self.result.green_weight.or(self.switching.then_some(0.0)),
        }
    }

    /// The pause that awaits approval.
    fn present_pause(&self) -> Option<&PauseRow> {
        self.pauses.last().filter(|pause| pause.state == "awaiting")
    }

    /// Text of the button that approves or switches.
    fn switch_label(&self) -> String {
        match (self.approvals.is_last(), self.pauses.len()) {
            (false, _) => self.page.t("switch.approve"),
            (true, 0 | 1) => self.page.t("switch.button"),
            (true, _) => self.page.t("switch.continue"),
        }
    }

    /// True when a side's address or service is known.
    fn has_sides(&self) -> bool {
        let result = &self.result;
        [&result.blue_url, &result.green_url, &result.blue_service_arn, &result.green_service_arn]
            .iter()
            .any(|known| known.is_some())
    }

    /// Address that compares the live commit with the next one on GitHub; none without two commits.
    fn compare_url(&self) -> Option<String> {
        let (old, new) = (self.live.as_ref()?.commit_sha.as_deref()?, self.result.commit_sha.as_deref()?);
        let parts = [&self.result.owner, &self.result.repo].map(|part| urlencoding(part));
        (old != new).then(|| format!("https://github.com/{}/{}/compare/{old}...{new}", parts[0], parts[1]))
    }
}

fn urlencoding(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads the deployment with everything that the view shows.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    DeploymentId(id): DeploymentId,
) -> Result<Response, ApiError> {
    let row = deployment(&state, &caller, id).await?;
    let target = TargetKey { account_id: &row.account_id, region: &row.region, ecr_repository: &row.ecr_repository };
    let stages =
        stages::rows(&state.db.stages(&row.id, row.attempt).await?, &state.db.usual_stages(target).await?, &row);
    let gates = gates::rows(&state, &row).await?;
    let live = state.db.live_deployment(caller.scope(), target, &row.id).await?;
    let timeline = timeline::entries(&state, &page, &caller, &row).await?;
    let newest = state.db.stream_state(&row.id).await?;
    let Some(newest) = newest else { return Err(not_found(&state, caller.scope(), row.id).await) };
    let log = LogPart::read(&state, &caller, &row.id, newest, page.lang).await?;
    let offer = RollbackOffer::of(&state, &caller, &row).await?;
    let needs_other = needs_other_approver(&state.db, &row.id, &caller, state.auth.requires_four_eyes()).await?;
    let (pauses, approvals) = pauses::read(&state, &row, &timeline, page.subject()).await?;
    let excluded = match (needs_other, approvals.by_caller) {
        (true, _) => Some("needs.other"),
        (false, true) => Some("needs.another"),
        (false, false) => None,
    };
    let actions = Actions::of(&page, &row, excluded, offer.is_some());
    let view = DeploymentView {
        source: source_text(&row.branch),
        account_id: row.account_id.clone(),
        region: row.region.clone(),
        started_by: row.started_by.clone(),
        step: row.step.clone(),
        waiting_for: row
            .waiting_for
            .as_ref()
            .map(|text| Reason::stored(text, row.waiting_for_form.as_ref()).text(page.lang)),
        switching: row.switch_requested_at.is_some() && row.completed_at.is_none(),
        cancelling: row.cancel_requested_at.is_some(),
        rolling_back: row.rollback_requested_at.is_some() && row.status == "COMPLETED",
        offer,
        result: result_of(&state, row, Some(page.lang)).await?,
        page,
        stages,
        gates,
        live,
        timeline,
        actions,
        pauses,
        approvals,
        log,
    };
    render(&view.page, &view)
}
