//! SQS: the queue that receives status events of AWS.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use url::Url;

use super::client;
use super::error::failed;
use super::observer::CallObserver;
use crate::clients::{ClientError, ErrorKind};

/// Most messages of one response, by SQS's own limit.
const MAX_MESSAGES: i32 = 10;

/// Longest wait of one call for messages.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A message as the queue delivered it.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// Text of the message; empty if it has none.
    pub body: String,
    /// Key with which it is deleted.
    pub receipt: String,
}

/// Client for one queue of the controller's account.
#[derive(Clone)]
pub struct StatusQueue {
    client: Client,
    url: String,
    wait_seconds: i32,
}

impl StatusQueue {
    /// Creates a client for the queue `url`, at that URL's own address. A call waits for messages for half of `timeout` at most.
    pub(super) fn new(config: &SdkConfig, observe: &CallObserver, url: &Url, timeout: Duration) -> Self {
        let config = config.to_builder().endpoint_url(url.origin().ascii_serialization()).build();
        let wait = (timeout / 2).min(MAX_WAIT).as_secs();
        let wait_seconds = i32::try_from(wait).unwrap_or_default();
        Self { client: client!(aws_sdk_sqs, &config, observe), url: url.to_string(), wait_seconds }
    }

    /// Waits for messages, at most ten. Returns none when none arrived within seconds.
    pub async fn receive(&self) -> Result<Vec<QueueMessage>, ClientError> {
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(MAX_MESSAGES);
        let answer = request.wait_time_seconds(self.wait_seconds).send().await;
        let messages = answer.map_err(|error| failed("sqs:ReceiveMessage", &error))?.messages.unwrap_or_default();
        let message = |message: aws_sdk_sqs::types::Message| {
            Some(QueueMessage { body: message.body.unwrap_or_default(), receipt: message.receipt_handle? })
        };
        Ok(messages.into_iter().filter_map(message).collect())
    }

    /// Deletes received messages, at most ten.
    pub async fn delete(&self, messages: &[QueueMessage]) -> Result<(), ClientError> {
        const CALL: &str = "sqs:DeleteMessageBatch";
        let entry = |(at, message): (usize, &QueueMessage)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
            entry.receipt_handle(&message.receipt).build().map_err(|error| super::error::build_error(CALL, &error))
        };
        let entries = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let sent = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        let answer = sent.map_err(|error| failed(CALL, &error))?;
        match answer.failed.first() {
            None => Ok(()),
            Some(entry) => {
                let reason = entry.message.as_deref().unwrap_or(&entry.code);
                Err(ClientError::new(
                    ErrorKind::Unavailable,
                    CALL,
                    format!("{} of the messages: {reason}", answer.failed.len()),
                ))
            }
        }
    }
}
