//! Facts in outputs: names, ARNs, addresses and ids, each checked for its kind.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};
use url::Url;

use super::output::{Output, find_in, member};
use crate::domain::code_deploy_id;
use crate::domain::deployment::Facts;
use crate::domain::health_check::HealthCheckSpec;
use crate::domain::{rollout, text};

/// Longest value taken from an output, in bytes.
const MAX_VALUE_BYTES: usize = 2_048;

/// Member with CodeDeploy's deployment id.
const CODE_DEPLOY_KEY: &str = "codeDeployDeploymentId";

/// Member with the ARN of ECS's own service deployment.
const SERVICE_DEPLOYMENT_KEY: &str = "serviceDeploymentArn";

/// Member with the health check of green. Outputs of ECS have members `healthCheck` with another meaning.
const HEALTH_CHECK_KEY: &str = "greenHealthCheck";

/// Longest refused value in a message, in characters.
const SHOWN_CHARS: usize = 120;

/// Values of one output.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub facts: Facts,
    /// Refused values, as sentences by the name of the member.
    pub refused: BTreeMap<&'static str, String>,
}

impl Values {
    /// The members that this output has, accepted or refused.
    pub fn settled(&self) -> Vec<&'static str> {
        let facts = &self.facts;
        let accepted = [
            ("blueServiceArn", &facts.blue_service_arn),
            ("greenServiceArn", &facts.green_service_arn),
            ("blueTargetGroupArn", &facts.blue_target_group_arn),
            ("greenTargetGroupArn", &facts.green_target_group_arn),
            ("blueUrl", &facts.blue_url),
            ("greenUrl", &facts.green_url),
            (CODE_DEPLOY_KEY, &facts.code_deploy_deployment_id),
            (SERVICE_DEPLOYMENT_KEY, &facts.service_deployment_arn),
        ];
        let accepted = accepted.into_iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key);
        let health_check = facts.output_health_check.is_some().then_some(HEALTH_CHECK_KEY);
        accepted.chain(health_check).chain(self.refused.keys().copied()).collect()
    }
}

/// Reads the values of an output.
struct Search<'a> {
    output: &'a Output,
    accounts: &'a [&'a str],
    refused: BTreeMap<&'static str, String>,
}

/// Reads the output of the state that ensures the infrastructure.
pub(super) fn of_infra(output: &Output, accounts: &[&str]) -> Values {
    let search = Search::new(output, accounts);
    let facts = Facts {
        cluster_name: search.text("clusterName"),
        service_name: search.text("serviceName"),
        task_definition: search.text("taskDefinition"),
        ..Facts::default()
    };
    search.with(facts)
}

/// Reads the output of the state that starts the blue/green deployment.
pub(super) fn of_registration(output: &Output, accounts: &[&str]) -> Values {
    let mut search = Search::new(output, accounts);
    let facts = Facts {
        cluster_name: search.text("clusterName"),
        service_name: search.text("serviceName"),
        blue_service_arn: search.arn("blueServiceArn", Some(("blueService", "serviceArn"))),
        green_service_arn: search.arn("greenServiceArn", Some(("greenService", "serviceArn"))),
        blue_url: search.url("blueUrl", "blueService"),
        green_url: search.url("greenUrl", "greenService"),
        code_deploy_deployment_id: search.code_deploy_id(),
        service_deployment_arn: search.service_deployment(),
        code_deploy_application_name: search.text("codeDeployApplicationName"),
        output_health_check: search.health_check(),
        ..Facts::default()
    };
    if facts.rollout().is_none() {
        search.refuse_ecs_id();
    }
    search.with(facts)
}

/// Reads the output of the state that waits for approval.
pub(super) fn of_approval(output: &Output, accounts: &[&str]) -> Values {
    let mut search = Search::new(output, accounts);
    let facts = Facts {
        blue_target_group_arn: search.arn("blueTargetGroupArn", None),
        green_target_group_arn: search.arn("greenTargetGroupArn", None),
        blue_url: search.url("blueUrl", "blueService"),
        green_url: search.url("greenUrl", "greenService"),
        code_deploy_deployment_id: search.code_deploy_id(),
        service_deployment_arn: search.service_deployment(),
        output_health_check: search.health_check(),
        ..Facts::default()
    };
    search.with(facts)
}

/// Reads the rollout's id from any output.
pub(super) fn of_rollout(output: &Output, accounts: &[&str]) -> Values {
    let mut search = Search::new(output, accounts);
    let facts = Facts {
        code_deploy_deployment_id: search.code_deploy_id(),
        service_deployment_arn: search.service_deployment(),
        ..Facts::default()
    };
    search.with(facts)
}

impl<'a> Search<'a> {
    fn new(output: &'a Output, accounts: &'a [&'a str]) -> Self {
        Self { output, accounts, refused: BTreeMap::new() }
    }

    fn with(self, facts: Facts) -> Values {
        Values { facts, refused: self.refused }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.output.find(|object| usable(object, key)).map(str::to_owned)
    }

    /// Returns the value of `within` (an object and its member) or of `key` that `judge` accepts; remembers the reason of a refusal otherwise.
    fn judged(
        &mut self,
        key: &'static str,
        within: Option<(&str, &str)>,
        judge: impl Fn(&str) -> Result<String, String>,
    ) -> Option<String> {
        let mut refused = None;
        let mut accept = |value: &str| match judge(value) {
            Ok(value) => Some(value),
            Err(why) => {
                refused.get_or_insert(format!("{key} {:?} {why}", text::cut(value, SHOWN_CHARS)));
                None
            }
        };
        let nested = within.and_then(|(service, inner)| {
            let service = self.output.find(|object| member(object, service).filter(|service| service.is_object()))?;
            find_in(service, &mut |object| usable(object, inner).and_then(&mut accept))
        });
        let found = nested.or_else(|| self.output.find(|object| usable(object, key).and_then(&mut accept)));
        if let (None, Some(refused)) = (&found, refused) {
            self.refused.insert(key, refused);
        }
        found
    }

    fn url(&mut self, key: &'static str, service: &str) -> Option<String> {
        // Before a first deployment there is no blue, and its place holds any text, which is ignored: nothing depends on blue's URL.
        let placeholder = |text: &str| key == "blueUrl" && Url::parse(text).is_err();
        self.judged(
            key,
            Some((service, "url")),
            |text| if placeholder(text) { Ok(String::new()) } else { http_url(text) },
        )
        .filter(|url| !url.is_empty())
    }

    fn arn(&mut self, key: &'static str, within: Option<(&str, &str)>) -> Option<String> {
        let accounts = self.accounts;
        self.judged(key, within, |arn| foreign(arn, accounts).map_or_else(|| Ok(arn.to_owned()), Err))
    }

    /// Finds the ARN of ECS's own service deployment, of an account that the outputs may name.
    fn service_deployment(&mut self) -> Option<String> {
        let accounts = self.accounts;
        self.judged(SERVICE_DEPLOYMENT_KEY, None, |arn| {
            if !rollout::is_service_deployment(arn) {
                return Err(rollout::ARN_REFUSAL.to_owned());
            }
            foreign(arn, accounts).map_or_else(|| Ok(arn.to_owned()), Err)
        })
    }

    /// Reads the health check of green, with each of its options checked.
    fn health_check(&mut self) -> Option<HealthCheckSpec> {
        let found = self.output.find(|object| member(object, HEALTH_CHECK_KEY))?;
        let read = HealthCheckSpec::deserialize(found).map_err(|error| text::cut(&error.to_string(), SHOWN_CHARS));
        let read =
            read.and_then(|spec| spec.checked().map_err(|refused| format!("{} {}", refused.field, refused.rule)));
        match read {
            Ok(spec) => Some(spec),
            Err(why) => {
                self.refused.insert(HEALTH_CHECK_KEY, format!("{HEALTH_CHECK_KEY} is not valid: {why}"));
                None
            }
        }
    }

    /// Refuses the id of an ECS deployment that stands where the registration has CodeDeploy's. Other states may name ECS deployments.
    fn refuse_ecs_id(&mut self) {
        let ecs = self.output.find(|object| usable(object, "deploymentId").filter(|id| id.starts_with("ecs-svc/")));
        if let Some(id) = ecs {
            let refused = format!(
                "deploymentId {:?} is that of an ECS deployment, not of a CodeDeploy deployment (d-…)",
                text::cut(id, SHOWN_CHARS)
            );
            self.refused.entry(CODE_DEPLOY_KEY).or_insert(refused);
        }
    }

    /// Finds CodeDeploy's deployment id: `codeDeployDeploymentId`, or a `deploymentId` with CodeDeploy's prefix `d-`.
    fn code_deploy_id(&mut self) -> Option<String> {
        let own = |id: &str| {
            let is_id = code_deploy_id::is_valid(id);
            is_id.then(|| id.to_owned()).ok_or_else(|| code_deploy_id::REFUSAL.to_owned())
        };
        let named = self.judged(CODE_DEPLOY_KEY, None, own);
        let found = named.or_else(|| {
            self.output
                .find(|object| usable(object, "deploymentId").filter(|id| code_deploy_id::is_valid(id)))
                .map(str::to_owned)
        });
        if found.is_some() {
            self.refused.remove(CODE_DEPLOY_KEY);
        }
        found
    }
}

/// Returns a member that may be a name, ARN or URL: those are never empty, very long or with control characters.
fn usable<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let text = member(object, key)?.as_str()?;
    (!text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.contains(char::is_control)).then_some(text)
}

/// Returns why an ARN of another account is refused.
fn foreign(arn: &str, accounts: &[&str]) -> Option<String> {
    let account = account_of(arn)?;
    let foreign = !accounts.is_empty() && !accounts.contains(&account);
    foreign.then(|| format!("belongs to the AWS account {account}, which is not that of the deployment"))
}

fn account_of(arn: &str) -> Option<&str> {
    let account = arn.strip_prefix("arn:")?.split(':').nth(3)?;
    (account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())).then_some(account)
}

/// Accepts an address that may be requested, without user and password, because every client can see it.
fn http_url(text: &str) -> Result<String, String> {
    let mut url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is not an http or https URL".to_owned());
    }
    if url.username().is_empty() && url.password().is_none() {
        return Ok(text.to_owned());
    }
    // Cannot fail for these schemes; a URL that keeps its password must not be shown.
    let stripped = url.set_username("").and_then(|()| url.set_password(None));
    stripped.map(|()| url.into()).map_err(|()| "has a user that cannot be removed".to_owned())
}
