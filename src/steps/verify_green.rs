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
use crate::domain::health_check::HealthCheck;
use crate::domain::message::message;
use crate::domain::rollout::{Pause, RolloutId};

/// Maximum number of times that one check is tried.
const MAX_TRIES_PER_CHECK: usize = 3;

/// Longest time between two tries of one check.
const MAX_TRY_INTERVAL: Duration = Duration::from_millis(500);

/// State of the health check step.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct VerifyGreen {
    /// URL at which green answers.
    pub green_url: String,
    /// Rollout, for the later switch.
    #[serde(alias = "code_deploy_deployment_id")]
    pub rollout: RolloutId,
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
        let facts = &cx.deployment.facts;
        let check = health_check(&cx.services.settings.health_check, facts);
        let (rollout, replaced) = (self.rollout.clone(), self.replaced);
        let ready = ready(facts, &cx.deployment.id, AwaitSwitch { rollout, pause: Pause::default(), replaced });
        if check.skip {
            return Ok(skipped(ready));
        }
        let green = Url::parse(&self.green_url).map_err(|error| {
            StepError::fatal(ErrorCode::ExecutionOutputInvalid, format!("green's URL {:?}: {error}", self.green_url))
        })?;
        let (green_stats, measured) = measure(cx, &green, &check).await;
        if check.is_failed(green_stats.failed) {
            let reason = message!(
                "reason.green_unhealthy",
                failed = green_stats.failed,
                checks = check.count,
                url = &self.green_url,
                condition = check.condition(),
                error = green_stats.last_error.unwrap_or_default()
            )
            .into();
            let failed = Transition::Failed { code: ErrorCode::GreenUnhealthy, reason };
            return Ok(StepOutcome::new(failed).with_facts(measured));
        }
        Ok(ready.with_facts(measured))
    }
}

/// Returns the check of this deployment: what the pipeline's output sets comes before the commit's `panda.toml`, and that before the server's settings.
fn health_check(server: &HealthCheck, facts: &Facts) -> HealthCheck {
    let (output, commit) = (facts.output_health_check.clone(), facts.health_check.clone());
    server.clone().with(&output.unwrap_or_default().or(commit.unwrap_or_default()))
}

/// Adds the event that says why nothing was measured before those that ask for the approval.
fn skipped(mut ready: StepOutcome) -> StepOutcome {
    ready.events.insert(0, Event::new(EventCode::HealthCheckSkipped));
    ready
}

/// Runs all checks of green, and measures blue beside it.
async fn measure(cx: &StepContext<'_>, green: &Url, check: &HealthCheck) -> (HealthStats, Facts) {
    // Blue is only measured: the deployment may be the fix for a blue that does not answer.
    let blue = cx.deployment.facts.blue_url.as_deref().and_then(|url| Url::parse(url).ok());
    let (mut green_stats, mut blue_stats) = (HealthStats::default(), HealthStats::default());
    for number in 0..check.count {
        if number > 0 {
            tokio::time::sleep(check.interval).await;
        }
        green_stats.add(&try_check(cx, green, check).await);
        if let Some(blue) = &blue {
            blue_stats.add(&cx.services.probe.check(blue, check).await);
        }
    }
    let measured = Facts {
        green_latency_ms: green_stats.median_ms(),
        green_error_rate: green_stats.error_rate(),
        blue_latency_ms: blue_stats.median_ms(),
        blue_error_rate: blue_stats.error_rate(),
        ..Facts::default()
    };
    (green_stats, measured)
}

/// Runs one check: returns the first healthy result of up to three tries, otherwise the last result.
async fn try_check(cx: &StepContext<'_>, green: &Url, check: &HealthCheck) -> ProbeResult {
    let mut result = cx.services.probe.check(green, check).await;
    for _ in 1..MAX_TRIES_PER_CHECK {
        if result.healthy {
            break;
        }
        tokio::time::sleep(check.interval.min(MAX_TRY_INTERVAL)).await;
        result = cx.services.probe.check(green, check).await;
    }
    result
}

#[derive(Debug, Default)]
struct HealthStats {
    latencies_ms: Vec<f64>,
    checks: u32,
    failed: u32,
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
        (self.checks > 0).then(|| f64::from(self.failed) / f64::from(self.checks))
    }
}

/// Requests manual approval: emits how to switch, and that the deployment has been successful so far.
pub(super) fn ready(known: &Facts, deployment_id: &str, await_switch: AwaitSwitch) -> StepOutcome {
    StepOutcome::new(Transition::Ready(await_switch.into()))
        .with_event(awaiting(known, deployment_id))
        .with_event(Event::new(EventCode::Ready))
}

/// Creates the event that says how to switch.
pub(super) fn awaiting(known: &Facts, deployment_id: &str) -> Event {
    Event::new(EventCode::AwaitingSwitch)
        .with("deployment_id", deployment_id)
        .with_known("blue_target_group_arn", known.blue_target_group_arn.as_deref())
        .with_known("green_target_group_arn", known.green_target_group_arn.as_deref())
        .with_known("blue_url", known.blue_url.as_deref())
        .with_known("green_url", known.green_url.as_deref())
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
