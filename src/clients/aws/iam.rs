//! IAM: the role in the user's account that EventBridge assumes for the target of Panda's rules.

use aws_config::SdkConfig;
use aws_sdk_iam::Client;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::client;
use super::error::failed_for_user;
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};

/// Description that IAM shows for a created role.
const DESCRIPTION: &str = "Lets EventBridge send Panda's push events to the controller's event bus";

/// Client of IAM in a user's account.
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
