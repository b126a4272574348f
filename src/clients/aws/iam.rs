//! IAM: the role in the user's account that EventBridge assumes for the target of Panda's rules, and the simulation of an identity's policies.

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult, PolicyEvaluationDecisionType};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::client;
use super::error::failed_for_user;
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};

/// Description that IAM shows for a created role.
const DESCRIPTION: &str = "Lets EventBridge send Panda's push events to the controller's event bus";

/// Pages of a simulation that are read at most; one page has up to a hundred results.
const MAX_PAGES: usize = 3;

/// Client of IAM with the credentials of one identity.
#[derive(Clone)]
pub struct Iam {
    client: Client,
}

impl Iam {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_iam, config, observe) }
    }

    /// Fetches the trust policy of a role; `None` if the role does not exist.
    pub async fn trust_policy(&self, role: &str) -> Result<Option<Value>, ClientError> {
        const CALL: &str = "iam:GetRole";
        match self.client.get_role().role_name(role).send().await {
            Ok(answer) => {
                let document = answer.role.and_then(|role| role.assume_role_policy_document);
                decoded(CALL, &document.unwrap_or_default()).map(Some)
            }
            Err(error) => none_if_absent(failed_for_user(CALL, &error)),
        }
    }

    /// Fetches an inline policy of a role; `None` if the role or the policy does not exist.
    pub async fn role_policy(&self, role: &str, name: &str) -> Result<Option<Value>, ClientError> {
        const CALL: &str = "iam:GetRolePolicy";
        match self.client.get_role_policy().role_name(role).policy_name(name).send().await {
            Ok(answer) => decoded(CALL, &answer.policy_document).map(Some),
            Err(error) => none_if_absent(failed_for_user(CALL, &error)),
        }
    }

    /// Creates a role. Fails with [`ErrorKind::Conflict`] if it exists.
    pub async fn create_role(&self, role: &str, trust_policy: &Value) -> Result<(), ClientError> {
        let request = self.client.create_role().role_name(role).description(DESCRIPTION);
        let sent = request.assume_role_policy_document(trust_policy.to_string()).send().await;
        sent.map(drop).map_err(|error| failed_for_user("iam:CreateRole", &error))
    }

    /// Creates or overwrites an inline policy of a role. Idempotent.
    pub async fn put_role_policy(&self, role: &str, name: &str, policy: &Value) -> Result<(), ClientError> {
        let request = self.client.put_role_policy().role_name(role).policy_name(name);
        let sent = request.policy_document(policy.to_string()).send().await;
        sent.map(drop).map_err(|error| failed_for_user("iam:PutRolePolicy", &error))
    }
}

impl Iam {
    /// Simulates the policies of an identity, given by its ARN, for actions on one resource: which of them are permitted. `passed_to` is the service to
    /// which a role is passed. Changes nothing.
    pub async fn simulate(
        &self,
        identity: &str,
        actions: &[&'static str],
        resource: &str,
        passed_to: Option<&str>,
    ) -> Result<Vec<(&'static str, bool)>, ClientError> {
        let names: Vec<String> = actions.iter().map(|action| (*action).to_owned()).collect();
        let passed = passed_to.map(|service| {
            let entry = ContextEntry::builder().context_key_name("iam:PassedToService").context_key_values(service);
            vec![entry.context_key_type(ContextKeyTypeEnum::String).build()]
        });
        let (mut decided, mut marker) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let request = self.client.simulate_principal_policy().policy_source_arn(identity).resource_arns(resource);
            let request = request.set_action_names(Some(names.clone())).set_context_entries(passed.clone());
            let sent = request.set_marker(marker.take()).send().await;
            let answer = sent.map_err(|error| failed_for_user("iam:SimulatePrincipalPolicy", &error))?;
            decided.extend(answer.evaluation_results.unwrap_or_default().iter().filter_map(|result| {
                let action = actions.iter().find(|action| result.eval_action_name.eq_ignore_ascii_case(action))?;
                Some((*action, is_allowed(result)))
            }));
            marker = answer.marker.filter(|_| answer.is_truncated);
            if marker.is_none() {
                break;
            }
        }
        Ok(decided)
    }
}

/// Service control policies are simulated separately; the decision for the resource precedes that for its type.
fn is_allowed(result: &EvaluationResult) -> bool {
    let allowed = |decision: &PolicyEvaluationDecisionType| *decision == PolicyEvaluationDecisionType::Allowed;
    let by_organization =
        result.organizations_decision_detail.as_ref().is_none_or(|found| found.allowed_by_organizations);
    let specific = result.resource_specific_results();
    let by_policies = if specific.is_empty() {
        allowed(&result.eval_decision)
    } else {
        specific.iter().all(|one| allowed(&one.eval_resource_decision))
    };
    by_organization && by_policies
}

fn none_if_absent(error: ClientError) -> Result<Option<Value>, ClientError> {
    if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) }
}

/// Decodes a policy document, which IAM returns URL-encoded.
fn decoded(call: &'static str, document: &str) -> Result<Value, ClientError> {
    let text = percent_decode_str(document).decode_utf8_lossy();
    serde_json::from_str(&text)
        .map_err(|error| ClientError::new(ErrorKind::Invalid, call, format!("the policy is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_url_encoded_policies() {
        let policy = decoded("iam:GetRole", "%7B%22Version%22%3A%20%222012-10-17%22%7D").unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        assert_eq!(decoded("iam:GetRole", "%7B").unwrap_err().kind, ErrorKind::Invalid);
    }
}
