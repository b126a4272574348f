//! Elastic Load Balancing: what the listeners of the services do with their traffic, and the health of the targets, in the Query protocol. Only reads.
//!
//! Each service has a load balancer with a production and a test listener, whose only rule is the default one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::xml::{document, element};
use crate::accounts::{AwsCaller, USER_ACCOUNT};
use crate::aws::error::AwsError;
use crate::aws::service::AwsService;
use crate::ecs::{EcsService, ListenerView, TargetGroupView};
use crate::simulation::Simulation;

type Form<'a> = HashMap<Cow<'a, str>, Cow<'a, str>>;

/// Time within which a healthy target accepts a connection.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

pub async fn call(
    simulation: &Simulation,
    caller: &AwsCaller,
    operation: &str,
    body: &[u8],
) -> Result<String, AwsError> {
    let form: Form<'_> = url::form_urlencoded::parse(body).collect();
    // The load balancers belong to the user's account; other accounts see none.
    let services = if caller.account == USER_ACCOUNT { simulation.fleet.running_services() } else { Vec::new() };
    let result = match operation {
        "DescribeListeners" => listeners(&services, &form)?,
        "DescribeRules" => rules(&services, &form)?,
        "DescribeTargetGroups" => target_groups(&services, &form)?,
        "DescribeTargetHealth" => target_health(&services, &form).await?,
        other => {
            tracing::warn!(operation = other, "sandbox: unknown operation of Elastic Load Balancing");
            let message = format!("Could not find operation {other} for version 2015-12-01");
            return Err(AwsError::new("InvalidAction", message));
        }
    };
    Ok(document(AwsService::ElasticLoadBalancing, operation, &result))
}

fn listeners(services: &[Arc<EcsService>], form: &Form<'_>) -> Result<String, AwsError> {
    let all: Vec<ListenerView> = services.iter().flat_map(|service| service.listeners()).collect();
    let wanted = members(form, "ListenerArns");
    let of_balancer = form.get("LoadBalancerArn").map(AsRef::as_ref);
    if wanted.is_empty() && of_balancer.is_none() {
        return Err(invalid("You must specify either listener ARNs or a load balancer ARN"));
    }
    let absent = wanted.iter().any(|arn| all.iter().all(|listener| listener.arn != *arn));
    if absent {
        return Err(AwsError::new("ListenerNotFound", "One or more listeners not found"));
    }
    let fits = |listener: &&ListenerView| {
        wanted.contains(&listener.arn.as_str()) || of_balancer == Some(&listener.balancer_arn)
    };
    let found = all.iter().filter(fits).map(|listener| {
        element("ListenerArn", &listener.arn)
            + &element("LoadBalancerArn", &listener.balancer_arn)
            + &element("Port", &listener.port.to_string())
            + &element("Protocol", "HTTP")
            + &format!("<DefaultActions>{}</DefaultActions>", forward(listener))
    });
    Ok(list("Listeners", found))
}

fn rules(services: &[Arc<EcsService>], form: &Form<'_>) -> Result<String, AwsError> {
    let all: Vec<ListenerView> = services.iter().flat_map(|service| service.listeners()).collect();
    let (listener, wanted) = (form.get("ListenerArn").map(AsRef::as_ref), members(form, "RuleArns"));
    let found: Vec<&ListenerView> = match (listener, wanted.as_slice()) {
        (Some(arn), []) => all.iter().filter(|listener| listener.arn == arn).collect(),
        (None, wanted @ [_, ..]) => {
            all.iter().filter(|listener| wanted.contains(&listener.rule_arn.as_str())).collect()
        }
        _ => return Err(invalid("You must specify either listener rule ARN(s) or a listener ARN")),
    };
    match listener {
        Some(_) if found.is_empty() => {
            return Err(AwsError::new("ListenerNotFound", "One or more listeners not found"));
        }
        None if found.len() < wanted.len() => return Err(AwsError::new("RuleNotFound", "One or more rules not found")),
        _ => {}
    }
    let rules = found.into_iter().map(|listener| {
        element("RuleArn", &listener.rule_arn)
            + &element("Priority", "default")
            + "<Conditions/>"
            + &format!("<Actions>{}</Actions>", forward(listener))
            + &element("IsDefault", "true")
    });
    Ok(list("Rules", rules))
}

/// The action of a listener: one target group has no weight that matters, and is named twice.
fn forward(listener: &ListenerView) -> String {
    let single = match listener.weights.as_slice() {
        [(group, _)] => element("TargetGroupArn", group),
        _ => String::new(),
    };
    let groups = listener
        .weights
        .iter()
        .map(|(group, weight)| element("TargetGroupArn", group) + &element("Weight", &weight.to_string()));
    let stickiness =
        format!("<TargetGroupStickinessConfig>{}</TargetGroupStickinessConfig>", element("Enabled", "false"));
    let config = format!("<ForwardConfig>{}{stickiness}</ForwardConfig>", list("TargetGroups", groups));
    format!("<member>{}{single}{}{config}</member>", element("Type", "forward"), element("Order", "1"))
}

fn target_groups(services: &[Arc<EcsService>], form: &Form<'_>) -> Result<String, AwsError> {
    let all: Vec<TargetGroupView> = services.iter().flat_map(|service| service.target_group_views()).collect();
    let (names, arns) = (members(form, "Names"), members(form, "TargetGroupArns"));
    let is_called = |group: &TargetGroupView, name: &str| group.name == name || group.arn == name;
    let wanted: Vec<&str> = names.into_iter().chain(arns).collect();
    if wanted.iter().any(|name| !all.iter().any(|group| is_called(group, name))) {
        return Err(AwsError::new("TargetGroupNotFound", "One or more target groups not found"));
    }
    let fits = |group: &&TargetGroupView| wanted.is_empty() || wanted.iter().any(|name| is_called(group, name));
    let found = all.iter().filter(fits).map(|group| {
        element("TargetGroupArn", &group.arn)
            + &element("TargetGroupName", &group.name)
            + &element("Protocol", "HTTP")
            + &element("Port", "80")
            + &element("VpcId", "vpc-0123456789abcdef0")
            + &element("HealthCheckProtocol", "TCP")
            + &element("HealthCheckPort", "traffic-port")
            + &element("HealthCheckEnabled", "true")
            + &element("TargetType", "ip")
            + &format!("<LoadBalancerArns><member>{}</member></LoadBalancerArns>", group.balancer_arn)
    });
    Ok(list("TargetGroups", found))
}

/// A target is healthy if it accepts a connection.
async fn target_health(services: &[Arc<EcsService>], form: &Form<'_>) -> Result<String, AwsError> {
    let Some(arn) = form.get("TargetGroupArn").filter(|arn| !arn.is_empty()) else {
        return Err(invalid(
            "1 validation error detected: Value null at 'targetGroupArn' failed to satisfy constraint: Member must not be null",
        ));
    };
    let group = services.iter().flat_map(|service| service.target_group_views()).find(|group| group.arn == *arn);
    let group = group.ok_or_else(|| AwsError::new("TargetGroupNotFound", "One or more target groups not found"))?;
    let mut described = Vec::new();
    for target in &group.targets {
        described.push(described_target(*target, accepts(*target).await));
    }
    Ok(list("TargetHealthDescriptions", described))
}

async fn accepts(target: SocketAddr) -> bool {
    matches!(tokio::time::timeout(HEALTH_TIMEOUT, TcpStream::connect(target)).await, Ok(Ok(_)))
}

fn described_target(target: SocketAddr, healthy: bool) -> String {
    let port = target.port().to_string();
    let health = if healthy {
        element("State", "healthy")
    } else {
        element("State", "unhealthy")
            + &element("Reason", "Target.FailedHealthChecks")
            + &element("Description", "Health checks failed")
    };
    let id = element("Id", &target.ip().to_string()) + &element("Port", &port);
    format!("<Target>{id}</Target>{}<TargetHealth>{health}</TargetHealth>", element("HealthCheckPort", &port))
}

fn members<'a>(form: &'a Form<'_>, name: &str) -> Vec<&'a str> {
    (1..).map_while(|number| form.get(format!("{name}.member.{number}").as_str())).map(AsRef::as_ref).collect()
}

fn list(name: &str, entries: impl IntoIterator<Item = String>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|entry| format!("<member>{entry}</member>")).collect();
    format!("<{name}>{}</{name}>", entries.concat())
}

fn invalid(message: &str) -> AwsError {
    AwsError::new("ValidationError", message)
}
