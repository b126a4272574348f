//! Elastic Load Balancing: what a listener does with its traffic, and the health of targets. Only reads.

use aws_config::SdkConfig;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, Rule, TargetHealthDescription};

use super::client;
use super::error::{failed_for_user, incomplete};
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::listener_guard::{ListenerRoute, RouteAction, TargetHealth, group_name};

/// Rules of one page, the most that AWS accepts.
const PAGE: i32 = 400;

/// Pages that are read of one listener. AWS permits 100 rules for each load balancer by default.
const MAX_PAGES: usize = 5;

/// Client for the load balancers of a user's account.
#[derive(Clone)]
pub struct LoadBalancers {
    client: Client,
}

impl LoadBalancers {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_elasticloadbalancingv2, config, observe) }
    }

    /// Fetches the routes of a production route, which is a listener or a single rule. Listeners of network load balancers have no rules, only an action.
    pub async fn routes(&self, arn: &str) -> Result<Vec<ListenerRoute>, ClientError> {
        if arn.contains(":listener/net/") || arn.contains(":listener/gwy/") {
            return Ok(vec![self.default_route(arn).await?]);
        }
        let rules = self.rules(arn).await?;
        Ok(rules.into_iter().map(|rule| route(arn, rule.rule_arn, rule.actions)).collect())
    }

    async fn default_route(&self, arn: &str) -> Result<ListenerRoute, ClientError> {
        const CALL: &str = "elasticloadbalancing:DescribeListeners";
        let answer = self.client.describe_listeners().listener_arns(arn).send().await;
        let answer = answer.map_err(|error| failed_for_user(CALL, &error))?;
        let listener = answer.listeners.unwrap_or_default().into_iter().next();
        let listener = listener.ok_or_else(|| incomplete(CALL, "listener"))?;
        Ok(route(arn, None, listener.default_actions))
    }

    async fn rules(&self, arn: &str) -> Result<Vec<Rule>, ClientError> {
        const CALL: &str = "elasticloadbalancing:DescribeRules";
        let (mut rules, mut marker) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let request = self.client.describe_rules();
            let request = if arn.contains(":listener-rule/") {
                request.rule_arns(arn)
            } else {
                request.listener_arn(arn).page_size(PAGE).set_marker(marker)
            };
            let answer = request.send().await.map_err(|error| failed_for_user(CALL, &error))?;
            rules.extend(answer.rules.unwrap_or_default());
            marker = answer.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(rules);
            }
        }
        let most = MAX_PAGES * 400;
        Err(ClientError::new(ErrorKind::Invalid, CALL, format!("listener {arn} has more than {most} rules")))
    }

    /// Finds the ARN of a target group by its name.
    pub async fn target_group(&self, name: &str) -> Result<String, ClientError> {
        const CALL: &str = "elasticloadbalancing:DescribeTargetGroups";
        let answer = self.client.describe_target_groups().names(name).send().await;
        let groups = answer.map_err(|error| failed_for_user(CALL, &error))?.target_groups.unwrap_or_default();
        groups.into_iter().find_map(|group| group.target_group_arn).ok_or_else(|| incomplete(CALL, "target group"))
    }

    /// Fetches the health of a target group's targets.
    pub async fn target_health(&self, group_arn: &str) -> Result<Vec<TargetHealth>, ClientError> {
        const CALL: &str = "elasticloadbalancing:DescribeTargetHealth";
        let answer = self.client.describe_target_health().target_group_arn(group_arn).send().await;
        let targets = answer.map_err(|error| failed_for_user(CALL, &error))?.target_health_descriptions;
        Ok(targets.unwrap_or_default().into_iter().map(health).collect())
    }
}

fn route(listener: &str, rule: Option<String>, actions: Option<Vec<Action>>) -> ListenerRoute {
    let actions = actions.unwrap_or_default();
    // An authentication may come first; what happens with the traffic is the last action.
    let last = actions.into_iter().max_by_key(|action| action.order.unwrap_or_default());
    let arn = rule.unwrap_or_else(|| listener.to_owned());
    ListenerRoute { arn, listener: listener.to_owned(), sends: last.map_or_else(|| other("none"), sends) }
}

fn other(action: &str) -> RouteAction {
    RouteAction::Other(action.to_owned())
}

fn sends(action: Action) -> RouteAction {
    match action.r#type {
        Some(ActionTypeEnum::Forward) => {}
        Some(kind) => return other(kind.as_str()),
        None => return other("none"),
    }
    let named = |arn: Option<String>| arn.map(|arn| group_name(&arn).to_owned());
    let groups = action.forward_config.and_then(|config| config.target_groups).unwrap_or_default();
    let weights = groups.into_iter().filter_map(|group| {
        // AWS states the weight of each; 1 is its default.
        let weight = group.weight.map_or(1, |weight| u32::try_from(weight).unwrap_or_default());
        Some((named(group.target_group_arn)?, weight))
    });
    let mut weights: Vec<(String, u32)> = weights.collect();
    if weights.is_empty() {
        weights.extend(named(action.target_group_arn).map(|name| (name, 1)));
    }
    RouteAction::forward(weights)
}

fn health(described: TargetHealthDescription) -> TargetHealth {
    let target = described.target.map(|target| match (target.id, target.port) {
        (Some(id), Some(port)) => format!("{id}:{port}"),
        (id, _) => id.unwrap_or_default(),
    });
    let health = described.target_health;
    let state = health.as_ref().and_then(|health| health.state.as_ref()).map(|state| state.as_str().to_owned());
    TargetHealth {
        target: target.unwrap_or_default(),
        state: state.unwrap_or_else(|| "unavailable".to_owned()),
        reason: health.and_then(|health| health.reason).map(|reason| reason.as_str().to_owned()),
    }
}
