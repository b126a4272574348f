//! Listener guard: decides before a switch if the production listener still sends its traffic to blue, and if green's targets are healthy.
//!
//! CodeDeploy and ECS overwrite the weights of the listener without reading them. If infrastructure code or a person changed them while the deployment
//! awaited its switch, live traffic would move in a way that no approver has seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::{Message, message};

/// Greatest difference between a share of the traffic as ECS states it and as whole weights express it, in percentage points.
const SHARE_TOLERANCE: f64 = 1.0;

/// Routes that are kept from the time at which green became ready.
pub const MAX_KEPT: usize = 20;

/// Names of the target groups of blue and green. A name is unique in an account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPair {
    /// Target group of the running version.
    pub blue: String,
    /// Target group of the version that replaces it.
    pub green: String,
}

/// Decision of a listener or rule about its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// Sends the traffic to target groups, by name, with their weights in lowest terms. Groups without weight are left out.
    Forward(BTreeMap<String, u32>),
    /// Answers the traffic itself, such as `redirect` or `fixed-response`.
    Other(String),
}

/// A rule of a listener, or its default action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListenerRoute {
    /// ARN of the rule; of the listener where it has no rules.
    pub arn: String,
    /// Production route to which it belongs: the ARN of the listener, or of the rule alone.
    pub listener: String,
    /// Decision about the traffic that reaches it.
    pub sends: RouteAction,
}

/// State of a registered target, as the load balancer reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// Address or id of the target, with its port.
    pub target: String,
    /// `healthy`, `unhealthy`, `initial`, `unused`, `draining`, …
    pub state: String,
    /// Code of the reason, such as `Target.ResponseCodeMismatch`.
    pub reason: Option<String>,
}

/// Finding that forbids the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerConflict {
    /// A route was changed since green became ready.
    Changed {
        /// ARN of the route.
        route: String,
        /// Traffic of the route when green became ready.
        was: String,
        /// Traffic of the route as it is now.
        now: String,
    },
    /// The traffic of a route, or of the whole listener, is not on blue.
    NotOnBlue {
        /// ARN of the route or listener.
        route: String,
        /// Traffic of the route as it is now.
        now: String,
        /// Target group of blue.
        blue: String,
    },
    /// The traffic of the rule is not divided as ECS has set it.
    OtherShare {
        /// ARN of the rule.
        route: String,
        /// Traffic of the rule as it is now.
        now: String,
        /// Target group of green.
        green: String,
        /// Percentage that ECS has set for green.
        percent: String,
    },
    /// Green has no registered targets.
    NoTargets {
        /// Target group of green.
        group: String,
    },
    /// Targets of green fail their health check, or none passes it.
    Unhealthy {
        /// Target group of green.
        group: String,
        /// Number of healthy targets.
        healthy: usize,
        /// Number of targets that the load balancer judges.
        judged: usize,
        /// A target that is not healthy, with its state and reason.
        example: String,
    },
}

impl ListenerConflict {
    /// Returns the finding and its remedy, for people.
    pub fn reason(&self) -> Message {
        match self {
            Self::Changed { route, was, now } => message!("reason.listener_changed", route, was, now),
            Self::NotOnBlue { route, now, blue } => message!("reason.listener_not_on_blue", route, now, blue),
            Self::OtherShare { route, now, green, percent } => {
                message!("reason.listener_other_share", route, now, green, percent)
            }
            Self::NoTargets { group } => message!("reason.green_without_targets", group),
            Self::Unhealthy { group, healthy, judged, example } => {
                message!("reason.green_targets_unhealthy", group, healthy = *healthy, judged = *judged, example)
            }
        }
    }
}

impl RouteAction {
    /// Creates a forward action from target groups with their weights. The weight of a single target group has no meaning.
    pub fn forward(groups: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut groups: Vec<(String, u32)> = groups.into_iter().collect();
        if let [(_, weight)] = groups.as_mut_slice() {
            *weight = 1;
        }
        let mut weights: BTreeMap<String, u32> = BTreeMap::new();
        for (name, weight) in groups.into_iter().filter(|(_, weight)| *weight > 0) {
            let sum = weights.entry(name).or_default();
            *sum = sum.saturating_add(weight);
        }
        let divisor = weights.values().copied().fold(0, greatest_common_divisor).max(1);
        for weight in weights.values_mut() {
            *weight /= divisor;
        }
        Self::Forward(weights)
    }

    fn sends_to(&self, group: &str) -> bool {
        matches!(self, Self::Forward(weights) if weights.contains_key(group))
    }

    fn sends_all_to(&self, group: &str) -> bool {
        self.sends_to(group) && matches!(self, Self::Forward(weights) if weights.len() == 1)
    }

    /// Percentage of the traffic that `pair` sends to green; none if something else gets traffic, or nothing does.
    fn share_of_green(&self, pair: &TargetPair) -> Option<f64> {
        let Self::Forward(weights) = self else { return None };
        let weight = |group: &str| f64::from(weights.get(group).copied().unwrap_or_default());
        let total = weight(&pair.blue) + weight(&pair.green);
        let pairs_only = weights.keys().all(|group| *group == pair.blue || *group == pair.green);
        (pairs_only && total > 0.0).then(|| weight(&pair.green) / total * 100.0)
    }

    /// Describes the action: `shop-1 90 %, shop-2 10 %`.
    fn shown(&self) -> String {
        let weights = match self {
            Self::Other(action) => return action.clone(),
            Self::Forward(weights) if weights.is_empty() => return "0 %".to_owned(),
            Self::Forward(weights) => weights,
        };
        let total: f64 = weights.values().map(|weight| f64::from(*weight)).sum();
        let part = |(name, weight): (&String, &u32)| {
            let percent = (f64::from(*weight) / total * 1_000.0).round() / 10.0;
            format!("{name} {percent} %")
        };
        weights.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Returns the routes to keep from the time at which green became ready: those that concern the pair, or all while it is not known.
pub fn kept(pair: Option<&TargetPair>, routes: Vec<ListenerRoute>) -> Vec<ListenerRoute> {
    let concerns = |route: &ListenerRoute| {
        pair.is_none_or(|pair| route.sends.sends_to(&pair.blue) || route.sends.sends_to(&pair.green))
    };
    routes.into_iter().filter(concerns).take(MAX_KEPT).collect()
}

/// Checks that the production traffic is on blue, and that no route changed since green became ready.
///
/// A route that sends traffic to green, such as a preview by a header, is accepted only if `before` has it unchanged.
pub fn check_routes(
    pair: &TargetPair,
    now: &[ListenerRoute],
    before: Option<&[ListenerRoute]>,
) -> Result<(), ListenerConflict> {
    for route in now {
        let was =
            before.and_then(|before| before.iter().find(|known| known.arn == route.arn)).map(|known| &known.sends);
        if was == Some(&route.sends) || route.sends.sends_all_to(&pair.blue) {
            continue;
        }
        let left_blue = was.is_some_and(|was| was.sends_all_to(&pair.blue));
        if left_blue || route.sends.sends_to(&pair.blue) || route.sends.sends_to(&pair.green) {
            return Err(match was {
                Some(was) => {
                    ListenerConflict::Changed { route: route.arn.clone(), was: was.shown(), now: route.sends.shown() }
                }
                None => not_on_blue(pair, &route.arn, route.sends.shown()),
            });
        }
    }
    let mut listeners: Vec<&str> = now.iter().map(|route| route.listener.as_str()).collect();
    listeners.dedup();
    for listener in listeners {
        let routes = || now.iter().filter(|route| route.listener == listener);
        if !routes().any(|route| route.sends.sends_all_to(&pair.blue)) {
            let shown: Vec<String> = routes().take(3).map(|route| route.sends.shown()).collect();
            return Err(not_on_blue(pair, listener, shown.join("; ")));
        }
    }
    Ok(())
}

/// Checks that the production rule of a rollout of ECS divides the traffic as ECS has set it: `green` percent on green. Nothing, and everything, are exact.
pub fn check_share(pair: &TargetPair, now: &ListenerRoute, green: f64) -> Result<(), ListenerConflict> {
    let share = now.sends.share_of_green(pair);
    let whole = |percent: f64| percent <= 0.0 || percent >= 100.0;
    let is_set = share.is_some_and(|share| {
        (share - green).abs() < SHARE_TOLERANCE && (!(whole(share) || whole(green)) || (share - green).abs() < 0.001)
    });
    if is_set {
        return Ok(());
    }
    Err(ListenerConflict::OtherShare {
        route: now.arn.clone(),
        now: now.sends.shown(),
        green: pair.green.clone(),
        percent: format!("{}", (green * 10.0).round() / 10.0),
    })
}

fn not_on_blue(pair: &TargetPair, route: &str, now: String) -> ListenerConflict {
    ListenerConflict::NotOnBlue { route: route.to_owned(), now, blue: pair.blue.clone() }
}

/// Checks that green's targets pass their health check. Targets that the load balancer does not judge, because no listener uses the target group yet or
/// its health checks are off, and those that are leaving, do not count.
pub fn check_targets(group: &str, targets: &[TargetHealth]) -> Result<(), ListenerConflict> {
    let staying: Vec<&TargetHealth> = targets.iter().filter(|target| !target.state.ends_with("draining")).collect();
    if staying.is_empty() {
        return Err(ListenerConflict::NoTargets { group: group.to_owned() });
    }
    let judged: Vec<&TargetHealth> = staying.into_iter().filter(|target| target.is_judged()).collect();
    let healthy = judged.iter().filter(|target| target.state == "healthy").count();
    let failing = judged.iter().find(|target| target.state != "healthy" && target.state != "initial");
    let example = failing.or_else(|| judged.first().filter(|_| healthy == 0));
    let Some(example) = example else { return Ok(()) };
    let reason = example.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Err(ListenerConflict::Unhealthy {
        group: group.to_owned(),
        healthy,
        judged: judged.len(),
        example: format!("{} {}{reason}", example.target, example.state),
    })
}

impl TargetHealth {
    fn is_judged(&self) -> bool {
        match self.state.as_str() {
            "unavailable" => false,
            "unused" => self.reason.as_deref() != Some("Target.NotInUse"),
            _ => true,
        }
    }
}

/// Returns the name in the ARN of a target group, `arn:…:targetgroup/NAME/ID`; the text itself if it is none.
pub fn group_name(arn: &str) -> &str {
    let named = arn.split_once(":targetgroup/").and_then(|(_, rest)| rest.split('/').next());
    named.unwrap_or(arn)
}

#[cfg(test)]
#[path = "listener_guard_tests.rs"]
mod tests;
