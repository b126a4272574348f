//! Step 1: creates the rule in the user's account that sends pushes of this repository to the controller's event bus.
//!
//! PutRule and PutTargets are upserts, and both are always called: a crash between them must not leave a rule without its target.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grant_event_bus::allows;
use super::{GrantEventBus, RunStep, StepContext, StepError, StepOutcome};
use crate::clients::ErrorKind;
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::{RULE_TARGET_ID, permission_statement, push_event_pattern};
use crate::domain::text;

/// State of the rule step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct EnsureEventRule {
    /// Number of times the target was denied although the bus permits the account.
    #[serde(default)]
    pub denials: u8,
}

/// Denials after which waiting is pointless: a new permission needs a moment to take effect everywhere.
const MAX_DENIALS: u8 = 5;

/// Time between two attempts after a denial.
const DENIAL_RETRY_DELAY: Duration = Duration::from_secs(1);

impl RunStep for EnsureEventRule {
    const NAME: &'static str = "ensure_event_rule";
    const STAGE: u8 = 1;
    const TIMED_OUT: ErrorCode = ErrorCode::EventRuleFailed;

    async fn run(&self, cx: &StepContext<'_>) -> Result<StepOutcome, StepError> {
        let failed = StepError::from_client(ErrorCode::EventRuleFailed);
        let settings = &cx.services.settings;
        let deployment = cx.deployment;
        let bus = cx.services.aws.controller().bus.describe(&settings.event_bus).await.map_err(&failed)?;
        let rule = cx.services.names.rule(&deployment.owner, &deployment.repo);
        let description = format!("Panda: image pushes of {}/{}", deployment.owner, deployment.repo);
        let pattern = push_event_pattern(&deployment.ecr_repository);
        cx.user.rules.put_rule(&rule, &pattern, &description).await.map_err(&failed)?;
        let assumed = settings.rule_target_role_arn.as_deref();
        let target = cx.user.rules.put_target(&rule, RULE_TARGET_ID, &bus.arn, assumed).await;
        match target {
            Ok(()) => {
                let next = GrantEventBus { rule_pending: false };
                Ok(StepOutcome::next(next).with_event(Event::new(EventCode::EventRuleCreated)))
            }
            Err(error) if error.kind == ErrorKind::Denied && self.denials < MAX_DENIALS => {
                let permitted = allows(bus.policy.as_ref(), &permission_statement(&deployment.account_id));
                Ok(if permitted || self.denials > 0 {
                    let why = text::reason(&error.to_string());
                    StepOutcome::wait(Self { denials: self.denials + 1 }, DENIAL_RETRY_DELAY, why)
                } else {
                    StepOutcome::next(GrantEventBus { rule_pending: true })
                })
            }
            Err(error) => Err(failed(error)),
        }
    }
}
