//! Stage 4: does green really answer? Checked before anybody is asked to send it traffic; blue is measured beside it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{AwaitSwitch, Context, Outcome, Run, StepError, Then};
use crate::clients::probe::ProbeResult;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;

/// How often green is checked.
const CHECKS: usize = 5;
/// Requests that one check may take.
const TRIES: usize = 3;
/// Checks that may fail.
const FAILURES_ALLOWED: usize = 2;

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VerifyGreen {
    /// Where green answers.
    pub green_url: String,
    /// For the switch to come.
    pub code_deploy_deployment_id: String,
}

impl Run for VerifyGreen {
    const NAME: &'static str = "verify_green";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::GreenUnhealthy;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let green = Url::parse(&self.green_url).map_err(|error| {
            StepError::fatal(ErrorCode::ExecutionOutputInvalid, format!("green's URL {:?}: {error}", self.green_url))
        })?;
        // Blue is only measured: a deployment may well be the remedy for a blue that does not answer.
        let blue = cx.deployment.facts.blue_url.as_deref().and_then(|url| Url::parse(url).ok());
        let (mut of_green, mut of_blue) = (Measured::default(), Measured::default());
        for check in 0..CHECKS {
            if check > 0 {
                tokio::time::sleep(cx.services.settings.health_interval).await;
            }
            of_green.add(&self.check(cx, &green).await);
            if let Some(blue) = &blue {
                of_blue.add(&cx.services.probe.check(blue).await);
            }
        }
        let measured = Facts {
            green_latency_ms: of_green.median_ms(),
            green_error_rate: of_green.error_rate(),
            blue_latency_ms: of_blue.median_ms(),
            blue_error_rate: of_blue.error_rate(),
            ..Facts::default()
        };
        if of_green.failed > FAILURES_ALLOWED {
            let said = of_green.last_error.unwrap_or_default();
            let reason =
                format!("{} of {CHECKS} checks of {} failed, the last with: {said}", of_green.failed, self.green_url);
            return Ok(Outcome::new(Then::Failed { code: ErrorCode::GreenUnhealthy, reason }).learning(measured));
        }
        Ok(ready(&cx.deployment.facts, &cx.deployment.id, self.code_deploy_deployment_id.clone()).learning(measured))
    }
}

impl VerifyGreen {
    /// One check: the first healthy answer of up to three tries, else the last answer.
    async fn check(&self, cx: &Context<'_>, green: &Url) -> ProbeResult {
        let mut result = cx.services.probe.check(green).await;
        for _ in 1..TRIES {
            if result.healthy {
                break;
            }
            tokio::time::sleep(cx.services.settings.health_interval.min(Duration::from_millis(500))).await;
            result = cx.services.probe.check(green).await;
        }
        result
    }
}

#[derive(Debug, Default)]
struct Measured {
    latencies_ms: Vec<f64>,
    checks: usize,
    failed: usize,
    last_error: Option<String>,
}

impl Measured {
    fn add(&mut self, result: &ProbeResult) {
        self.checks += 1;
        if result.healthy {
            self.latencies_ms.push(result.latency.as_secs_f64() * 1_000.0);
        } else {
            self.failed += 1;
            let status = result.status.map(|status| format!("status {status}"));
            self.last_error = result.error.clone().or(status);
        }
    }

    fn median_ms(&self) -> Option<f64> {
        let mut sorted = self.latencies_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    fn error_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a handful of checks")]
        (self.checks > 0).then(|| self.failed as f64 / self.checks as f64)
    }
}

/// A person's turn: tells how to switch, and that this is a success so far.
pub(super) fn ready(known: &Facts, deployment_id: &str, code_deploy_deployment_id: String) -> Outcome {
    let awaiting = Event::new(EventCode::AwaitingSwitch)
        .with("deployment_id", deployment_id)
        .with_known("blue_target_group_arn", known.blue_target_group_arn.as_deref())
        .with_known("green_target_group_arn", known.green_target_group_arn.as_deref())
        .with_known("blue_url", known.blue_url.as_deref())
        .with_known("green_url", known.green_url.as_deref());
    Outcome::new(Then::Ready(AwaitSwitch { code_deploy_deployment_id }.into()))
        .telling(awaiting)
        .telling(Event::new(EventCode::Ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_error_rate_are_of_what_was_measured() {
        let mut measured = Measured::default();
        assert_eq!((measured.median_ms(), measured.error_rate()), (None, None));
        measured.latencies_ms = vec![9.0, 1.0, 5.0];
        (measured.checks, measured.failed) = (4, 1);
        assert_eq!((measured.median_ms(), measured.error_rate()), (Some(5.0), Some(0.25)));
    }
}
