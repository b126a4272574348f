//! Stage 3, first part: finds the execution that the push started.
//!
//! The secret serves as a mailbox: until the pipeline writes to it, it contains the ARN of an earlier execution. The execution belongs to this
//! deployment if its input contains the deployment's digest or tag; both are unique to this deployment.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FollowExecution, RunStep, Settings, StepContext, StepError, StepOutcome};
use crate::clients::ErrorKind;
use crate::domain::deployment::Facts;
use crate::domain::failure::ErrorCode;

/// Time between two polls: the ARN appears within a second or two, and the time limit is ten seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Step Functions and ECR have different clocks: an execution that started this long before the push belongs to another deployment.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// State of the search for the execution.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FindExecution {
    /// Tag of the pushed image.
    pub image_tag: String,
    /// Digest of the pushed image.
    pub image_digest: String,
}

impl RunStep for FindExecution {
    const NAME: &'static str = "find_execution";
    const STAGE: u8 = 3;
    const TIMED_OUT: ErrorCode = ErrorCode::ExecutionNotFound;

    fn limit(settings: &Settings) -> Duration {
        settings.execution_wait
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::ExecutionUnreadable);
        let again = |why: String| {
            Ok(StepOutcome::wait(self.clone(), POLL_INTERVAL.min(cx.services.settings.poll_interval), why))
        };
        let secret = cx.services.names.secret(&cx.deployment.owner, &cx.deployment.repo);
        let controller = cx.services.aws.controller();
        let Some(value) = controller.secrets.value(&secret).await.map_err(&failed)? else {
            return again(format!("secret {secret} does not exist yet"));
        };
        let Some(arn) = execution_arn(&value) else {
            return again(format!("secret {secret} holds no execution ARN"));
        };
        let execution = match controller.executions.describe(&arn).await {
            Ok(execution) => execution,
            Err(error) if error.kind == ErrorKind::NotFound => {
                return again(format!("execution {arn} does not exist (any more)"));
            }
            Err(error) => return Err(failed(error)),
        };
        let ours = execution.input.as_deref().is_some_and(|input| self.is_named_in(input, cx.deployment.attempt));
        let in_time =
            cx.deployment.facts.image_pushed_at.is_none_or(|pushed| execution.started_at + CLOCK_TOLERANCE >= pushed);
        if !(ours && in_time) {
            return again(format!("secret {secret} still names the execution of another image"));
        }
        Ok(StepOutcome::next(FollowExecution { execution_arn: arn.clone(), task_failed: false })
            .with_facts(Facts { execution_arn: Some(arn), ..Facts::default() }))
    }
}

impl FindExecution {
    /// From the second attempt on, the digest may be the one of an earlier attempt, whose execution has ended: then only the tag is unique.
    fn is_named_in(&self, input: &str, attempt: i32) -> bool {
        (attempt <= 1 && input.contains(&self.image_digest)) || names_tag(input, &self.image_tag)
    }
}

/// Reports whether `text` contains `tag` as a whole: `dep_x` must not match `dep_x-2`.
fn names_tag(text: &str, tag: &str) -> bool {
    let continues = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(tag).any(|(at, _)| !text[at + tag.len()..].starts_with(continues))
}

/// Extracts the ARN from the secret's value: the plain ARN, or JSON with `executionArn`.
fn execution_arn(secret: &str) -> Option<String> {
    let text = secret.trim();
    let arn = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => object.get("executionArn")?.as_str()?.trim().to_owned(),
        Ok(Value::String(arn)) => arn,
        _ => text.to_owned(),
    };
    (arn.starts_with("arn:") && arn.contains(":states:")).then_some(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_arn_from_text_and_json() {
        let arn = "arn:aws:states:ap-northeast-2:123456789012:execution:pipe:1";
        assert_eq!(execution_arn(arn).as_deref(), Some(arn));
        assert_eq!(execution_arn(&format!(" {{\"executionArn\": \"{arn}\"}}\n")).as_deref(), Some(arn));
        assert_eq!(execution_arn("{}"), None);
        assert_eq!(execution_arn(""), None);
        assert_eq!(execution_arn("arn:aws:s3:::bucket"), None);
    }

    #[test]
    fn ignores_execution_of_another_image() {
        let step = FindExecution { image_tag: "dep_abc".into(), image_digest: "sha256:1".into() };
        assert!(step.is_named_in(r#"{"detail":{"image-digest":"sha256:1"}}"#, 1));
        assert!(step.is_named_in(r#"{"detail":{"image-tag":"dep_abc"}}"#, 1));
        assert!(!step.is_named_in(r#"{"detail":{"image-digest":"sha256:2","image-tag":"dep_abd"}}"#, 1));
    }

    #[test]
    fn ignores_execution_of_another_attempt() {
        let step = FindExecution { image_tag: "dep_abc-2".into(), image_digest: "sha256:1".into() };
        assert!(!step.is_named_in(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc"}}"#, 2));
        assert!(!step.is_named_in(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc-20"}}"#, 2));
        assert!(step.is_named_in(r#"{"detail":{"image-digest":"sha256:1","image-tag":"dep_abc-2"}}"#, 2));
    }
}
