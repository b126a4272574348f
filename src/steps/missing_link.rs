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
use crate::domain::message::{Message, message};
use crate::domain::names::{RULE_TARGET_ID, push_event_pattern};

/// Links that were looked up.
#[derive(Clone, Debug, Default)]
struct Findings {
    /// Sentences about links that are missing.
    missing: Vec<Message>,
    /// Links that could not be read, each with the error.
    unchecked: Vec<Message>,
}

/// Names the missing links between the pushed image and its execution.
pub(super) async fn missing_link(cx: &StepContext<'_>, image_tag: &str, image_digest: &str, unique: bool) -> Message {
    let mut found = Findings::default();
    found.note(message!("reason.link_image"), image(cx, image_tag).await);
    found.note(message!("reason.link_rule"), rule(cx).await);
    found.note(message!("reason.link_bus"), way_to_bus(cx).await);
    found.note(message!("reason.link_secret"), execution(cx, image_tag, image_digest, unique).await);
    found.summary()
}

impl Findings {
    fn note(&mut self, link: Message, looked_up: Result<Vec<Message>, ClientError>) {
        match looked_up {
            Ok(missing) => self.missing.extend(missing),
            Err(error) => self.unchecked.push(message!("reason.link_unread", link, error = error.to_string())),
        }
    }

    fn summary(self) -> Message {
        let summary = match joined(self.missing) {
            None => message!("reason.links_in_place"),
            Some(missing) => message!("reason.links_missing", missing),
        };
        match joined(self.unchecked) {
            None => summary,
            Some(unchecked) => message!("reason.links_unchecked", summary, unchecked),
        }
    }
}

fn joined(texts: Vec<Message>) -> Option<Message> {
    texts.into_iter().reduce(|first, second| message!("reason.joined", first, second))
}

async fn image(cx: &StepContext<'_>, tag: &str) -> Result<Vec<Message>, ClientError> {
    let repository = &cx.deployment.ecr_repository;
    Ok(match cx.user.ecr.find_image(repository, tag).await? {
        Some(_) => Vec::new(),
        None => vec![message!("reason.image_not_in_ecr", image = format!("{repository}:{tag}"))],
    })
}

async fn rule(cx: &StepContext<'_>) -> Result<Vec<Message>, ClientError> {
    let (deployment, account) = (cx.deployment, &cx.deployment.account_id);
    let name = cx.services.names.rule(&deployment.owner, &deployment.repo);
    let fault = match cx.user.rules.describe_rule(&name).await? {
        None => message!("reason.rule_absent"),
        Some(rule) if !rule.enabled => message!("reason.rule_disabled"),
        Some(rule) if !fits(&rule, &push_event_pattern(&deployment.ecr_repository)) => {
            message!("reason.rule_of_other_pattern")
        }
        Some(_) => return Ok(Vec::new()),
    };
    Ok(vec![message!("reason.rule_fault", name, account, fault)])
}

async fn way_to_bus(cx: &StepContext<'_>) -> Result<Vec<Message>, ClientError> {
    let (deployment, account) = (cx.deployment, &cx.deployment.account_id);
    let bus_name = &cx.services.settings.event_bus;
    let bus = cx.services.aws.controller().bus.describe(bus_name).await?;
    let mut missing = Vec::new();
    if EventRoute::to(&bus.arn, account, &deployment.region).needs_statement() {
        match granted_to(cx, &bus) {
            Granted::Yes => {}
            Granted::Conditionally => missing.push(message!("reason.bus_under_condition", bus = bus_name, account)),
            Granted::No => missing.push(message!("reason.bus_without_account", bus = bus_name, account)),
            Granted::Denied(statement) => {
                missing.push(message!("reason.bus_statement_denies", statement, bus = bus_name, account));
            }
        }
    }
    let name = cx.services.names.rule(&deployment.owner, &deployment.repo);
    let targets = cx.user.rules.targets(&name).await?;
    if !targets.iter().any(|target| target.arn == bus.arn) {
        missing.push(message!("reason.rule_without_target", name, target = RULE_TARGET_ID, bus = &bus.arn));
    }
    Ok(missing)
}

async fn execution(cx: &StepContext<'_>, tag: &str, digest: &str, unique: bool) -> Result<Vec<Message>, ClientError> {
    let secret = secret_of(cx);
    Ok(vec![match LatestExecution::read(cx).await? {
        LatestExecution::NoSecret => message!("reason.secret_absent", secret),
        LatestExecution::NoArn => message!("reason.secret_without_arn", secret),
        LatestExecution::Gone(arn) => message!("reason.secret_names_none", secret, arn),
        LatestExecution::Named(execution) => match &execution.input {
            None => message!("reason.input_unreadable", arn = &execution.arn, secret),
            Some(input) if names_image(input, tag, digest, unique) => {
                // It appeared after the last poll, or started before the push.
                message!("reason.started_at", arn = &execution.arn, at = execution.started_at.to_string())
            }
            Some(input) => {
                let image = image_of(input).map(|image| format!(" ({image})")).unwrap_or_default();
                message!("reason.secret_of_other_image", secret, arn = &execution.arn, image)
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
        assert!(found.clone().summary().to_string().contains("controller's event bus"));
        let denied = ClientError::new(ErrorKind::Denied, "events:DescribeRule", "not authorized");
        found.note(message!("reason.link_rule"), Err(denied));
        assert!(
            found
                .clone()
                .summary()
                .to_string()
                .ends_with("could not be checked: the rule (events:DescribeRule: not authorized)")
        );
        found.note(message!("reason.link_image"), Ok(vec![Message::verbatim("image a:1 is not in ECR")]));
        assert!(
            found.summary().to_string().starts_with("missing: image a:1 is not in ECR; could not be checked: the rule")
        );
    }
}
