//! STS: the identity behind a set of credentials, and trial assumption of roles.

use aws_config::SdkConfig;
use aws_sdk_sts::error::ProvideErrorMetadata as _;

use super::client;
use super::error::{failed, incomplete};
use super::observer::CallObserver;
use crate::clients::ClientError;

/// Name of the role session as shown in the user's `CloudTrail`.
pub(super) const SESSION_NAME: &str = "panda";

/// Duration in seconds of a session that only tests a role: the minimum that STS accepts.
const MIN_SESSION_SECONDS: i32 = 900;

/// Identity behind a set of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// Account id of twelve digits.
    pub account_id: String,
    /// ARN of the user or the role session.
    pub arn: String,
}

/// Result of an `AssumeRole` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assumed {
    /// The role was assumed; contains the session's ARN.
    Session(String),
    /// Refused by the role's trust policy or for lack of the caller's permissions; contains STS's message. A role that does not exist is answered the
    /// same way.
    AccessDenied(String),
}

/// Client of the Security Token Service.
#[derive(Clone)]
pub struct Sts {
    client: aws_sdk_sts::Client,
}

impl Sts {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_sts, config, observe) }
    }

    /// Fetches the identity of the caller. Needs no permission, so `Denied` means that the credentials themselves are wrong.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, ClientError> {
        const CALL: &str = "sts:GetCallerIdentity";
        let answer = self.client.get_caller_identity().send().await.map_err(|error| failed(CALL, &error))?;
        Ok(CallerIdentity {
            account_id: answer.account.ok_or_else(|| incomplete(CALL, "account"))?,
            arn: answer.arn.ok_or_else(|| incomplete(CALL, "ARN"))?,
        })
    }

    /// Tries to assume a role and discards the session. A refusal is [`Assumed::AccessDenied`]; the error `Denied` means that the caller's own
    /// credentials are wrong.
    pub(super) async fn try_role(&self, role_arn: &str, external_id: Option<&str>) -> Result<Assumed, ClientError> {
        const CALL: &str = "sts:AssumeRole";
        let request = self.client.assume_role().role_arn(role_arn).role_session_name(SESSION_NAME);
        let request = request.duration_seconds(MIN_SESSION_SECONDS).set_external_id(external_id.map(str::to_owned));
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
