//! STS: who a set of credentials belongs to, and whether a role may be assumed.

use aws_config::SdkConfig;
use aws_sdk_sts::error::ProvideErrorMetadata as _;

use super::client;
use super::credentials::SESSION_NAME;
use super::error::{failed, incomplete};
use super::observe::Observe;
use crate::clients::ClientError;

/// Seconds of a session that is opened only to see whether it can be: the least that STS takes.
const SHORTEST_SESSION: i32 = 900;

/// Whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account's twelve digits.
    pub account_id: String,
    /// The user's or role session's ARN.
    pub arn: String,
}

/// What STS answers to an `AssumeRole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assumed {
    /// The role was assumed: the session's ARN.
    Session(String),
    /// The role's trust policy, or the caller's own rights, do not allow it: STS's words. A role that does not exist is no different.
    AccessDenied(String),
}

/// The Security Token Service.
#[derive(Clone)]
pub struct Sts {
    client: aws_sdk_sts::Client,
}

impl Sts {
    pub(super) fn new(config: &SdkConfig, observe: &Observe) -> Self {
        Self { client: client!(aws_sdk_sts, config, observe) }
    }

    /// Who calls; needs no permission, so `Denied` means that the credentials themselves are wrong.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, ClientError> {
        const CALL: &str = "sts:GetCallerIdentity";
        let answer = self.client.get_caller_identity().send().await.map_err(|error| failed(CALL, &error))?;
        Ok(CallerIdentity {
            account_id: answer.account.ok_or_else(|| incomplete(CALL, "account"))?,
            arn: answer.arn.ok_or_else(|| incomplete(CALL, "ARN"))?,
        })
    }

    /// Tries to assume a role, and drops the session. `AccessDenied` is an answer; `Denied` means that the caller's own credentials are wrong.
    pub(super) async fn try_role(&self, role_arn: &str, external_id: Option<&str>) -> Result<Assumed, ClientError> {
        const CALL: &str = "sts:AssumeRole";
        let request = self.client.assume_role().role_arn(role_arn).role_session_name(SESSION_NAME);
        let request = request.duration_seconds(SHORTEST_SESSION).set_external_id(external_id.map(str::to_owned));
        match request.send().await {
            Ok(answer) => {
                let user = answer.assumed_role_user.ok_or_else(|| incomplete(CALL, "user"))?;
                Ok(Assumed::Session(user.arn))
            }
            Err(error) => {
                let refused = error.as_service_error().is_some_and(|error| error.code() == Some("AccessDenied"));
                let error = failed(CALL, &error);
                if refused { Ok(Assumed::AccessDenied(error.message)) } else { Err(error) }
            }
        }
    }
}
