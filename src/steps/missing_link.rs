//! Looks up why no execution started after a push: each link of the chain from the image's event to the secret with the execution's ARN.
//!
//! Reads only. A link that the permissions do not allow to read is named as unchecked.

use super::StepContext;
use super::ensure_event_rule::fits;
use super::grant_event_bus::granted_to;
use super::latest_execution::{LatestExecution, secret_of};
use crate::clients::ClientError;
use crate::domain::bus_policy::Granted;
use crate::domain::event_route::EventRoute;
use crate::domain::execution_input::{image_of, names_image};
use crate::domain::names::{RULE_TARGET_ID, push_event_pattern};

/// Links that were looked up.
#[derive(Debug, Default)]
struct Findings {
    /// Sentences about links that are missing.
    missing: Vec<String>,
    /// Links that could not be read, each with the error.
    unchecked: Vec<String>,
}

/// Names the missing links between the pushed image and its execution.
pub(super) async fn missing_link(cx: &StepContext<'_>, image_tag: &str, image_digest: &str, unique: bool) -> String {
    let mut found = Findings::default();
    found.note("the image", image(cx, image_tag).await);
    found.note("the rule", rule(cx).await);
    found.note("the target of the rule and the permission on the event bus", way_to_bus(cx).await);
    found.note("the secret and its execution", execution(cx, image_tag, image_digest, unique).await);
    found.summary()
}

impl Findings {
    fn note(&mut self, link: &str, looked_up: Result<Vec<String>, ClientError>) {
        match looked_up {
            Ok(missing) => self.missing.extend(missing),
            Err(error) => self.unchecked.push(format!("{link} ({error})")),
        }
    }

    fn summary(&self) -> String {
        let mut text = match self.missing.as_slice() {
            [] => "image, rule, target and permission that could be checked are in place, so check the rule on the controller's event bus that starts \
                   the state machine, and that the role of the target, if it has one, may put events on that bus"
                .to_owned(),
            missing => format!("missing: {}", missing.join("; ")),
        };
        if !self.unchecked.is_empty() {
            text = format!("{text}; could not be checked: {}", self.unchecked.join("; "));
        }
        text
    }
}

async fn image(cx: &StepContext<'_>, tag: &str) -> Result<Vec<String>, ClientError> {
    let repository = &cx.deployment.ecr_repository;
    Ok(match cx.user.ecr.find_image(repository, tag).await? {
        Some(_) => Vec::new(),
        None => vec![format!("image {repository}:{tag} is not in ECR, so no push was reported")],
    })
}

async fn rule(cx: &StepContext<'_>) -> Result<Vec<String>, ClientError> {
    let (deployment, account) = (cx.deployment, &cx.deployment.account_id);
    let name = cx.services.names.rule(&deployment.owner, &deployment.repo);
    let fault = match cx.user.rules.describe_rule(&name).await? {
        None => "does not exist",
        Some(rule) if !rule.enabled => "is disabled",
        Some(rule) if !fits(&rule, &push_event_pattern(&deployment.ecr_repository)) => {
            "has another event pattern than this repository's pushes"
        }
        Some(_) => return Ok(Vec::new()),
    };
    Ok(vec![format!("rule {name} in account {account} {fault}")])
}

async fn way_to_bus(cx: &StepContext<'_>) -> Result<Vec<String>, ClientError> {
    let (deployment, account) = (cx.deployment, &cx.deployment.account_id);
    let bus_name = &cx.services.settings.event_bus;
    let bus = cx.services.aws.controller().bus.describe(bus_name).await?;
    let mut missing = Vec::new();
    if EventRoute::to(&bus.arn, account, &deployment.region).needs_statement() {
        match granted_to(cx, &bus) {
            Granted::Yes => {}
            Granted::Conditionally => missing.push(format!(
                "the policy of event bus {bus_name} permits account {account} only under a condition, such as for an organization that it may not belong to"
            )),
            Granted::No => missing.push(format!("the policy of event bus {bus_name} does not permit account {account}")),
            Granted::Denied(statement) => {
                missing.push(format!("statement {statement} of the policy of event bus {bus_name} denies account {account}"));
            }
        }
    }
    let name = cx.services.names.rule(&deployment.owner, &deployment.repo);
    let targets = cx.user.rules.targets(&name).await?;
    if !targets.iter().any(|target| target.arn == bus.arn) {
        missing.push(format!("rule {name} has no target {RULE_TARGET_ID} that leads to {}", bus.arn));
    }
    Ok(missing)
}

async fn execution(cx: &StepContext<'_>, tag: &str, digest: &str, unique: bool) -> Result<Vec<String>, ClientError> {
    let secret = secret_of(cx);
    Ok(vec![match LatestExecution::read(cx).await? {
        LatestExecution::NoSecret => format!("secret {secret} does not exist: no execution has written its ARN"),
        LatestExecution::NoArn => format!("the value of secret {secret} is not the ARN of an execution"),
        LatestExecution::Gone(arn) => format!("secret {secret} names {arn}, which does not exist"),
        LatestExecution::Named(execution) => match &execution.input {
            None => format!("the input of {}, which secret {secret} names, is not readable", execution.arn),
            Some(input) if names_image(input, tag, digest, unique) => {
                // It appeared after the last poll, or started before the push.
                format!("{} names this image, but started at {}", execution.arn, execution.started_at)
            }
            Some(input) => {
                let image = image_of(input).map(|image| format!(" ({image})")).unwrap_or_default();
                format!("secret {secret} names {}, which belongs to another image{image}", execution.arn)
            }
        },
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ErrorKind;

    #[test]
    fn summary_names_missing_and_unchecked_links() {
        let mut found = Findings::default();
        assert!(found.summary().contains("controller's event bus"));
        let denied = ClientError::new(ErrorKind::Denied, "events:DescribeRule", "not authorized");
        found.note("the rule", Err(denied));
        assert!(found.summary().ends_with("could not be checked: the rule (events:DescribeRule: not authorized)"));
        found.note("the image", Ok(vec!["image a:1 is not in ECR".to_owned()]));
        assert!(found.summary().starts_with("missing: image a:1 is not in ECR; could not be checked: the rule"));
    }
}
