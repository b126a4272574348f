//! Secrets Manager: the secret into which the pipeline writes its execution's ARN.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;

use super::client;
use super::error::failed;
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};

/// Client for the controller's secrets.
#[derive(Clone)]
pub struct SecretsManager {
    client: Client,
}

impl SecretsManager {
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver) -> Self {
        Self { client: client!(aws_sdk_secretsmanager, config, observe) }
    }

    /// Reads the current value of the secret; `None` if the secret does not exist or never had a value.
    pub async fn value(&self, name: &str) -> Result<Option<String>, ClientError> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let answer = match self.client.get_secret_value().secret_id(name).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = failed(CALL, &error);
                return if error.kind == ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        if let Some(text) = answer.secret_string {
            return Ok(Some(text));
        }
        // A pipeline may have stored the text as bytes.
        answer
            .secret_binary
            .map(|bytes| String::from_utf8(bytes.into_inner()))
            .transpose()
            .map_err(|_| ClientError::new(ErrorKind::Invalid, CALL, "the secret's value is not UTF-8 text"))
    }
}
