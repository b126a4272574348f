//! Stage 4: measures the gates of the policy, and decides with them whether the traffic moves, or stays on green.
//!
//! A gate measures by reading only, so that repeating a run after a crash does no harm: the measurement that was not committed is made again, under the
//! same number. A gate that is not decided within its time has not passed. No deadline moves the traffic: where AWS ends its wait first, the next step
//! finds that the rollout has ended.

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::gate_reading::{gates_of, read};
use super::rollout::{about, said};
use super::watch_traffic::completed;
use super::{
    AwaitSwitch, Cancel, ConfirmSwitch, RunStep, Settings, StepContext, StepError, StepOutcome, SwitchTraffic,
    Transition, is_default,
};
use crate::clients::aws::Priority;
use crate::domain::catalogue::EventCode;
use crate::domain::deployment::Facts;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::gate::{Gate, GatePoint, GateProgress, GateVerdict, MAX_SECONDS, OnFail, not_passed};
use crate::domain::message::{Message, message};
use crate::domain::reason::Reason;
use crate::domain::rollout::{Pause, RolloutId, Standing};

/// State of the gates at one point of a rollout.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CheckGates {
    /// Rollout whose traffic the gates guard.
    pub rollout: RolloutId,
    /// Point of the rollout at which they run.
    pub at: GatePoint,
    /// Pause that was approved; the last one at `bake`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pause: Pause,
    /// Executions of this image that were followed before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replaced: u8,
    /// Audit row of the request for the switch: keys the events, because another request may follow a refused one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: i64,
    /// Gates that are not decided.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: Vec<GateProgress>,
    /// Time that the measurements take, in seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seconds: u64,
    /// The gates have begun.
    #[serde(default, skip_serializing_if = "is_default")]
    pub begun: bool,
    /// Time that was waited so far, in milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waited_ms: u64,
}

impl RunStep for CheckGates {
    const NAME: &'static str = "check_gates";
    const STAGE: u8 = 4;
    const PRIORITY: Priority = Priority::Urgent;
    const TIMED_OUT: ErrorCode = ErrorCode::SwitchTimedOut;

    /// Longer than open gates may take: this is for a step that cannot run at all.
    fn limit(settings: &Settings) -> Duration {
        settings.switch_limit.saturating_mul(2)
    }

    const LONGEST_EXTRA: Duration = Duration::from_secs(2 * MAX_SECONDS as u64);

    fn extra_limit(&self) -> Duration {
        // Measurements take time besides the waits.
        Duration::from_secs(self.seconds.saturating_mul(2)).min(Self::LONGEST_EXTRA)
    }

    fn after_limit(&self, _: Option<ErrorCode>) -> Option<StepOutcome> {
        let names = self.names();
        (self.at != GatePoint::Bake).then(|| self.refused(message!("gate.undecided", gates = names)))
    }

    /// At `bake` the traffic is on green, and could be neither accepted nor taken back.
    async fn timeout_cause(&self, _: &StepContext<'_>) -> Option<Reason> {
        Some(message!("reason.maybe_on_green", service = self.rollout.service()).into())
    }

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let gates = match gates_of(cx) {
            Ok(gates) => gates,
            Err(why) if self.at == GatePoint::Bake => return Ok(self.failed(vec![], OnFail::Rollback, why)),
            Err(why) => return Ok(self.refused(message!("gate.request_again", why))),
        };
        if self.at == GatePoint::Bake
            && let Some(ended) = self.ended(cx).await?
        {
            return Ok(ended);
        }
        if !self.begun {
            return self.begin(cx, &gates).await;
        }
        self.measure(cx, &gates).await
    }
}

impl CheckGates {
    /// Begins after an approval of the switch.
    pub(super) fn of_switch(cx: &StepContext<'_>, awaits: AwaitSwitch, at: GatePoint, request: i64) -> Self {
        let gates = gates_of(cx).unwrap_or_default();
        let seconds = |gate: &Gate| u64::from(gate.seconds().saturating_add(gate.every));
        // Known from the beginning: the time limit of a step is that of its first state.
        let seconds = gates.iter().filter(|gate| gate.at == at).map(seconds).max().unwrap_or_default();
        let AwaitSwitch { rollout, pause, replaced } = awaits;
        Self { rollout, at, pause, replaced, request, open: Vec::new(), seconds, begun: false, waited_ms: 0 }
    }

    /// Follows a switch whose traffic is on green; `None` if no gate runs then.
    pub(super) fn bake(cx: &StepContext<'_>, switched: ConfirmSwitch) -> Option<StepOutcome> {
        let none = gates_of(cx).is_ok_and(|gates| gates.iter().all(|gate| gate.at != GatePoint::Bake));
        if none {
            return None;
        }
        let ConfirmSwitch { rollout, pause, replaced, .. } = switched;
        let awaits = AwaitSwitch { rollout, pause, replaced };
        let bake = Self::of_switch(cx, awaits, GatePoint::Bake, 0);
        // From here on, a rollout that ends with its traffic on blue was rolled back.
        let facts = Facts { green_weight: Some(100.0), ..Facts::default() };
        Some(StepOutcome::next(bake).with_facts(facts))
    }

    /// At `bake`, AWS may end the rollout, or take the traffic back, while the gates measure. The step that confirms the switch knows what that means.
    async fn ended(&self, cx: &StepContext<'_>) -> Result<Option<StepOutcome>, StepError> {
        let seen = cx.user.rollout(&self.rollout).observe().await.map_err(super::confirm_switch::not_readable)?;
        match seen.standing {
            Standing::Succeeded => {
                let mut outcome = completed(Some(&seen));
                for progress in &self.open {
                    let service = self.rollout.service();
                    let reason = message!("gate.ended_first", gate = &progress.name, service);
                    let event = Event::new(EventCode::GateNotPassed).because(&reason.into());
                    let event = event.with("gate", progress.name.as_str()).with("at", self.at.to_string());
                    let event = event.with("on_fail", OnFail::Notify.to_string());
                    outcome.events.insert(0, event.keyed(self.occurrence(&progress.name)));
                }
                Ok(Some(outcome))
            }
            Standing::Ended => {
                tracing::info!(status = seen.status, why = %said(&seen), "rollout ended while gates measured");
                Ok(Some(StepOutcome::next(self.confirm())))
            }
            _ => Ok(None),
        }
    }

    fn confirm(&self) -> ConfirmSwitch {
        let Self { rollout, pause, replaced, .. } = self.clone();
        ConfirmSwitch { rollout, shift_seconds: 0, pause, replaced }
    }

    /// Begins the gates of this point, unless there are none or an approver overrode them.
    async fn begin(&self, cx: &StepContext<'_>, gates: &[Gate]) -> Result<StepOutcome, StepError> {
        let unsupported = |gate: &&Gate| gate.at == GatePoint::EachStep && !self.rollout.has_steps();
        let chosen: Vec<&Gate> = gates.iter().filter(|gate| gate.at == self.at).collect();
        if self.at != GatePoint::Bake
            && let Some(overridden) = &cx.deployment.switch_override
        {
            let event = Event::new(EventCode::GatesOverridden).with("stage", Self::STAGE);
            let event = event.with("by", overridden.by.as_str()).with("override", overridden.reason.as_str());
            return Ok(self.passed(cx).await?.with_event(event.keyed(self.request)));
        }
        if self.at != GatePoint::Bake
            && let Some(gate) = gates.iter().find(unsupported)
        {
            return Ok(self.refused(message!("gate.one_step", gate = &gate.name)));
        }
        if chosen.is_empty() {
            return self.passed(cx).await;
        }
        // At `bake`, the traffic has just arrived: the first measurement follows after one interval.
        let first = |gate: &Gate| match self.at {
            GatePoint::Bake => GateProgress::new(gate).after_interval(gate),
            GatePoint::BeforeSwitch | GatePoint::EachStep => GateProgress::new(gate),
        };
        let open: Vec<GateProgress> = chosen.iter().map(|gate| first(gate)).collect();
        let begun = Self { open, begun: true, ..self.clone() };
        let event = Event::new(EventCode::GatesStarted).with("at", self.at.to_string()).with("gates", begun.names());
        Ok(begun.wait(cx, &chosen).with_event(event.keyed(self.occurrence("-"))))
    }

    /// Makes the measurements that are due.
    async fn measure(&self, cx: &StepContext<'_>, gates: &[Gate]) -> Result<StepOutcome, StepError> {
        let find = |progress: &GateProgress| gates.iter().find(|gate| gate.name == progress.name);
        // The policy of an attempt never changes: each open gate is in it.
        let mut open: Vec<(&Gate, GateProgress)> =
            self.open.iter().filter_map(|progress| Some((find(progress)?, progress.clone()))).collect();
        let due: Vec<usize> = (0..open.len()).filter(|index| open[*index].1.is_due()).collect();
        let readings = join_all(due.iter().map(|index| read(cx, open[*index].0, self.at))).await;
        let (mut events, mut failure) = (Vec::new(), None);
        for (index, reading) in due.into_iter().zip(readings) {
            let (gate, progress) = &mut open[index];
            let measured = progress.count(gate, reading?);
            let found = measured.found.clone();
            events.push(self.measured(gate, measured));
            match progress.verdict(gate) {
                GateVerdict::Open => {}
                GateVerdict::Passed => events.push(self.about_gate(EventCode::GatePassed, gate)),
                GateVerdict::Failed => {
                    let reason = not_passed(gate, progress, &found);
                    events.push(self.not_passed(gate, reason.clone()));
                    failure = Some(worse(failure, gate, reason));
                }
            }
        }
        open.retain(|(gate, progress)| progress.verdict(gate) == GateVerdict::Open);
        if self.waited_ms >= self.limit_ms(cx) {
            for (gate, _) in open.drain(..) {
                let reason = message!("gate.undecided_bake", gates = &gate.name);
                events.push(self.not_passed(gate, reason.clone()));
                failure = Some(worse(failure, gate, reason));
            }
        }
        if let Some((on_fail, reason)) = failure.filter(|(on_fail, _)| *on_fail != OnFail::Notify) {
            return Ok(self.failed(events, on_fail, reason));
        }
        let left = Self { open: open.iter().map(|(_, progress)| progress.clone()).collect(), ..self.clone() };
        let gates: Vec<&Gate> = open.iter().map(|(gate, _)| *gate).collect();
        let mut outcome = if gates.is_empty() { left.passed(cx).await? } else { left.wait(cx, &gates) };
        events.append(&mut outcome.events);
        outcome.events = events;
        Ok(outcome)
    }

    /// Time after which open gates have not passed, in milliseconds.
    fn limit_ms(&self, cx: &StepContext<'_>) -> u64 {
        let limit = cx.services.settings.switch_limit + Duration::from_secs(self.seconds);
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits for the next measurement, or the end of the time, and counts all waits down.
    fn wait(&self, cx: &StepContext<'_>, gates: &[&Gate]) -> StepOutcome {
        let progress: Vec<String> =
            self.open.iter().zip(gates).map(|(progress, gate)| progress.summary(gate)).collect();
        let why = message!("wait.gates", at = self.at.to_string(), progress = progress.join(", "));
        let mut next = self.clone();
        let due = next.open.iter().map(|progress| progress.wait_ms).min().unwrap_or_default();
        let after = due.min(self.limit_ms(cx).saturating_sub(self.waited_ms));
        next.open.iter_mut().for_each(|progress| progress.wait_ms = progress.wait_ms.saturating_sub(after));
        next.waited_ms = next.waited_ms.saturating_add(after);
        StepOutcome::wait(next, Duration::from_millis(after), why)
    }

    /// All gates passed, or there are none.
    async fn passed(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        if self.at != GatePoint::Bake {
            let Self { rollout, pause, replaced, request, .. } = self.clone();
            return Ok(StepOutcome::next(SwitchTraffic { rollout, pause, replaced, request }).without_answer());
        }
        let seen = cx.user.rollout(&self.rollout).observe().await.map_err(super::confirm_switch::not_readable)?;
        Ok(match seen.standing {
            Standing::Ended => StepOutcome::next(self.confirm()),
            _ => completed(Some(&seen)),
        })
    }

    /// A gate failed: the rollout is rolled back, or the request for the switch ends.
    fn failed(&self, events: Vec<Event>, on_fail: OnFail, reason: Message) -> StepOutcome {
        let mut outcome = if on_fail == OnFail::Pause {
            self.refused(message!("gate.request_again", why = reason))
        } else {
            StepOutcome::next(Cancel::for_gate(Self::NAME, serde_json::to_value(self).unwrap_or_default(), &reason))
        };
        let after = std::mem::replace(&mut outcome.events, events);
        outcome.events.extend(after);
        outcome
    }

    /// Ends the request for the switch. The deployment awaits the next one.
    fn refused(&self, reason: Message) -> StepOutcome {
        let Self { rollout, pause, replaced, request, .. } = self.clone();
        let event = about(EventCode::SwitchRefused, &rollout).because(&reason.into()).keyed(request);
        StepOutcome::new(Transition::Ready(AwaitSwitch { rollout, pause, replaced }.into())).with_event(event)
    }
}

/// Of two failures, the one whose effect is greater: rollback, then pause, then notify.
fn worse(known: Option<(OnFail, Message)>, gate: &Gate, reason: Message) -> (OnFail, Message) {
    let rank = |on_fail: OnFail| match on_fail {
        OnFail::Rollback => 2,
        OnFail::Pause => 1,
        OnFail::Notify => 0,
    };
    match known {
        Some(known) if rank(known.0) >= rank(gate.on_fail) => known,
        _ => (gate.on_fail, reason),
    }
}
