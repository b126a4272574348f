//! Listener guard: looks at the production listener and at green's targets just before the traffic is shifted, and keeps what the listener does when
//! green becomes ready. The rule is `domain::listener_guard`.
//!
//! It only reads. A finding ends the request for the switch, never the deployment: it stays DEPLOYMENT_READY, an event has the finding, and the next
//! request checks again. Connections of before this check lack its permissions. A denial must not end their switches, so that it is reported and the
//! switch continues; throttled calls and calls without an answer are repeated within the time limit of the switch.

use super::confirm_switch::not_readable;
use super::rollout::about;
use super::{AwaitSwitch, StepContext, StepError, StepOutcome, SwitchTraffic, Transition};
use crate::clients::aws::{CodeDeployment, LoadBalancers, Observed, ServiceDeployment};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::{Facts, Status};
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::listener_guard::{
    ListenerConflict, ListenerRoute, TargetPair, check_routes, check_share, check_targets, group_name, kept,
};
use crate::domain::message::message;
use crate::domain::reason::Reason;
use crate::domain::rollout::RolloutId;

/// Returns the outcome that replaces the shift of the waiting rollout; `None` if its traffic may move.
pub(super) async fn refusal(
    cx: &StepContext<'_>,
    seen: &Observed,
    switch: &SwitchTraffic,
) -> Result<Option<StepOutcome>, StepError> {
    if !cx.services.settings.listener_guard {
        return Ok(None);
    }
    let looked = match (seen.code_deploy(), seen.native()) {
        (Some(deployment), _) => {
            let named = cx.user.codedeploy.target(&deployment.id).await.map_err(not_readable)?.groups;
            let Some(pair) = named.or_else(|| known_pair(&cx.deployment.facts)) else {
                tracing::info!(id = deployment.id, "target groups not known, listener not checked before the switch");
                return Ok(None);
            };
            look(cx, deployment, &pair).await
        }
        (None, Some(deployment)) => look_at_native(cx, deployment).await,
        (None, None) => return Ok(None),
    };
    let reason: Reason = match looked {
        Ok(Ok(())) => return Ok(None),
        Ok(Err(conflict)) => conflict.reason().into(),
        Err(error) => match error.kind {
            ErrorKind::Denied => {
                unchecked(cx, &error).await;
                return Ok(None);
            }
            ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Credentials => {
                return Err(StepError::from_client(ErrorCode::ListenerUnreadable)(error));
            }
            ErrorKind::NotFound => message!("reason.listener_gone", error = error.to_string()).into(),
            ErrorKind::Conflict | ErrorKind::LimitExceeded | ErrorKind::Invalid => {
                message!("reason.listener_not_checkable", error = error.to_string()).into()
            }
        },
    };
    tracing::warn!(%reason, "switch refused by the listener guard");
    Ok(Some(refused(switch, &reason)))
}

/// Ends the request for the switch. The deployment awaits the next one.
pub(super) fn refused(switch: &SwitchTraffic, reason: &Reason) -> StepOutcome {
    let SwitchTraffic { rollout, pause, replaced, .. } = switch.clone();
    let event = about(EventCode::SwitchRefused, &rollout).because(reason);
    let awaits = AwaitSwitch { rollout, pause, replaced };
    StepOutcome::new(Transition::Ready(awaits.into())).with_event(event.keyed(switch.request))
}

/// Adds the routes of the production listener to an outcome that makes the deployment ready. Without them, the guard accepts only a listener that is all
/// on blue.
pub(super) async fn with_routes(cx: &StepContext<'_>, outcome: StepOutcome) -> StepOutcome {
    let first = matches!(outcome.transition, Transition::Ready(_)) && cx.deployment.status == Status::Running;
    let known = outcome.facts.rollout().or_else(|| cx.deployment.facts.rollout()).filter(|_| first);
    let Some(RolloutId::CodeDeploy(id)) = known.filter(|_| cx.services.settings.listener_guard) else { return outcome };
    match routes_when_ready(cx, &id).await {
        Ok(routes) => outcome.with_facts(Facts { listener_routes: Some(routes), ..Facts::default() }),
        Err(error) => {
            tracing::info!(kind = ?error.kind, call = error.call, "routes of the production listener not read");
            outcome
        }
    }
}

async fn routes_when_ready(cx: &StepContext<'_>, id: &str) -> Result<Vec<ListenerRoute>, ClientError> {
    let deployment = cx.user.codedeploy.deployment(id).await?;
    let routes = routes(&cx.user.load_balancers, &deployment.production_routes).await?;
    Ok(kept(known_pair(&cx.deployment.facts).as_ref(), routes))
}

/// Returns the target groups that the pipeline's output named.
fn known_pair(facts: &Facts) -> Option<TargetPair> {
    let name = |arn: &Option<String>| arn.as_deref().map(|arn| group_name(arn).to_owned());
    Some(TargetPair { blue: name(&facts.blue_target_group_arn)?, green: name(&facts.green_target_group_arn)? })
}

async fn look(
    cx: &StepContext<'_>,
    deployment: &CodeDeployment,
    pair: &TargetPair,
) -> Result<Result<(), ListenerConflict>, ClientError> {
    let facts = &cx.deployment.facts;
    let balancers = &cx.user.load_balancers;
    let stated =
        facts.green_target_group_arn.as_deref().filter(|arn| group_name(arn) == pair.green && *arn != pair.green);
    let health = async {
        match stated {
            Some(arn) => balancers.target_health(arn).await,
            None => balancers.target_health(&balancers.target_group(&pair.green).await?).await,
        }
    };
    let (routes, targets) = tokio::try_join!(routes(balancers, &deployment.production_routes), health)?;
    let checked = check_routes(pair, &routes, facts.listener_routes.as_deref());
    Ok(checked.and_then(|()| check_targets(&pair.green, &targets)))
}

/// Looks at the rules of a rollout of ECS. The share of the traffic that ECS has set is the baseline, so that each pause between two parts has its own.
async fn look_at_native(
    cx: &StepContext<'_>,
    deployment: &ServiceDeployment,
) -> Result<Result<(), ListenerConflict>, ClientError> {
    const CALL: &str = "ecs:DescribeServiceRevisions";
    let wanted = deployment.target_revision.clone().unwrap_or_default();
    let found = cx.user.ecs.revisions(std::slice::from_ref(&wanted)).await?;
    let revision = found.into_iter().find(|revision| revision.arn == wanted);
    let revision = revision
        .ok_or_else(|| ClientError::new(ErrorKind::NotFound, CALL, format!("revision {wanted:?} does not exist")))?;
    let balancers = &cx.user.load_balancers;
    let share = deployment.green_weight.unwrap_or_default();
    for balancer in &revision.balancers {
        let stated = (
            cx.deployment.facts.blue_target_group_arn.as_deref(),
            cx.deployment.facts.green_target_group_arn.as_deref(),
        );
        let (Some((blue, green)), Some(rule)) = (balancer.pair(stated), &balancer.production_rule) else {
            let reason = format!("revision {wanted} does not say which rule and target groups it uses");
            return Err(ClientError::new(ErrorKind::Invalid, CALL, reason));
        };
        let pair = TargetPair { blue: group_name(blue).to_owned(), green: group_name(green).to_owned() };
        let (routes, targets) = tokio::try_join!(balancers.routes(rule), balancers.target_health(green))?;
        let checked = routes.iter().try_for_each(|route| check_share(&pair, route, share));
        if let Err(conflict) = checked.and_then(|()| check_targets(&pair.green, &targets)) {
            return Ok(Err(conflict));
        }
    }
    Ok(Ok(()))
}

/// Reads the routes of all production listeners. CodeDeploy has one.
async fn routes(balancers: &LoadBalancers, listeners: &[String]) -> Result<Vec<ListenerRoute>, ClientError> {
    let mut routes = Vec::new();
    for listener in listeners {
        routes.extend(balancers.routes(listener).await?);
    }
    Ok(routes)
}

/// Reports once in an attempt that the guard is off.
async fn unchecked(cx: &StepContext<'_>, error: &ClientError) {
    tracing::warn!(call = error.call, "permission missing, listener not checked before the switch");
    cx.reporter.emit(Event::new(EventCode::ListenerUnchecked).with("right", error.call)).await;
}
