//! STS: who a set of credentials belongs to.

use aws_config::SdkConfig;

use super::client;
use super::error::{failed, incomplete};
use super::observe::Observe;
use crate::clients::ClientError;

/// Whose credentials these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account's twelve digits.
    pub account_id: String,
    /// The user's or role session's ARN.
    pub arn: String,
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
}
