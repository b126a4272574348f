//! Stage 4: checks that green answers before approval is requested, and measures blue for comparison.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{AwaitSwitch, RunStep, StepContext, StepError, StepOutcome, Transition, is_default};
use crate::clients::probe::ProbeResult;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::message::message;

/// Number of health checks of green.
const CHECKS: usize = 5;
/// Maximum number of requests per check.
const MAX_REQUESTS_PER_CHECK: usize = 3;
/// Maximum number of failed checks.
const MAX_FAILED_CHECKS: usize = 2;

/// State of the health check step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VerifyGreen {
    /// URL at which green answers.
    pub green_url: String,
    /// Id of the CodeDeploy deployment, for the later switch.
    pub code_deploy_deployment_id: String,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
}

impl RunStep for VerifyGreen {
    const NAME: &'static str = "verify_green";
    const STAGE: u8 = 4;
    const TIMED_OUT: ErrorCode = ErrorCode::GreenUnhealthy;

    fn replaced(&self) -> Option<u8> {
        Some(self.replaced)
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let green = Url::parse(&self.green_url).map_err(|error| {
            StepError::fatal(ErrorCode::ExecutionOutputInvalid, format!("green's URL {:?}: {error}", self.green_url))
        })?;
        // Blue is only measured: the deployment may be the fix for a blue that does not answer.
        let blue = cx.deployment.facts.blue_url.as_deref().and_then(|url| Url::parse(url).ok());
        let (mut green_stats, mut blue_stats) = (HealthStats::default(), HealthStats::default());
        for check in 0..CHECKS {
            if check > 0 {
                tokio::time::sleep(cx.services.settings.health_interval).await;
            }
            green_stats.add(&self.check(cx, &green).await);
            if let Some(blue) = &blue {
                blue_stats.add(&cx.services.probe.check(blue).await);
            }
        }
        let measured = Facts {
            green_latency_ms: green_stats.median_ms(),
            green_error_rate: green_stats.error_rate(),
            blue_latency_ms: blue_stats.median_ms(),
            blue_error_rate: blue_stats.error_rate(),
            ..Facts::default()
        };
        if green_stats.failed > MAX_FAILED_CHECKS {
            let last_error = green_stats.last_error.unwrap_or_default();
            let reason = message!(
                "reason.green_unhealthy",
                failed = green_stats.failed,
                checks = CHECKS,
                url = &self.green_url,
                error = last_error
            )
            .into();
            return Ok(
                StepOutcome::new(Transition::Failed { code: ErrorCode::GreenUnhealthy, reason }).with_facts(measured)
            );
        }
        let code_deploy_deployment_id = self.code_deploy_deployment_id.clone();
        let await_switch = AwaitSwitch { code_deploy_deployment_id, replaced: self.replaced };
        Ok(ready(&cx.deployment.facts, &cx.deployment.id, await_switch).with_facts(measured))
    }
}

impl VerifyGreen {
    /// Runs one check: returns the first healthy result of up to three requests, otherwise the last result.
    async fn check(&self, cx: &StepContext<'_>, green: &Url) -> ProbeResult {
        let mut result = cx.services.probe.check(green).await;
        for _ in 1..MAX_REQUESTS_PER_CHECK {
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
struct HealthStats {
    latencies_ms: Vec<f64>,
    checks: usize,
    failed: usize,
    last_error: Option<String>,
}

impl HealthStats {
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
        // Tenths of a millisecond: the network's noise is larger.
        sorted.get(sorted.len() / 2).map(|latency| (latency * 10.0).round() / 10.0)
    }

    fn error_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a handful of checks")]
        (self.checks > 0).then(|| self.failed as f64 / self.checks as f64)
    }
}

/// Requests manual approval: emits how to switch, and that the deployment has been successful so far.
pub(super) fn ready(known: &Facts, deployment_id: &str, await_switch: AwaitSwitch) -> StepOutcome {
    let awaiting = Event::new(EventCode::AwaitingSwitch)
        .with("deployment_id", deployment_id)
        .with_known("blue_target_group_arn", known.blue_target_group_arn.as_deref())
        .with_known("green_target_group_arn", known.green_target_group_arn.as_deref())
        .with_known("blue_url", known.blue_url.as_deref())
        .with_known("green_url", known.green_url.as_deref());
    StepOutcome::new(Transition::Ready(await_switch.into()))
        .with_event(awaiting)
        .with_event(Event::new(EventCode::Ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_median_and_error_rate() {
        let mut measured = HealthStats::default();
        assert_eq!((measured.median_ms(), measured.error_rate()), (None, None));
        measured.latencies_ms = vec![9.0, 1.0, 4.963_211];
        (measured.checks, measured.failed) = (4, 1);
        assert_eq!((measured.median_ms(), measured.error_rate()), (Some(5.0), Some(0.25)));
    }
}
