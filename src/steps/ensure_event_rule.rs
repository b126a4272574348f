//! Step 1: the rule in the user's account that sends pushes of this repository to the controller's event bus.
//!
//! PutRule and PutTargets are upserts and both always made: a crash between them must not leave a rule without its target.

use serde::{Deserialize, Serialize};

use super::{Context, GrantEventBus, Outcome, Run, StepError};
use crate::domain::catalogue::EventCode;
use crate::domain::event::Event;
use crate::domain::failure::ErrorCode;
use crate::domain::names::{RULE_TARGET_ID, push_event_pattern};

/// See the module.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct EnsureEventRule {}

impl Run for EnsureEventRule {
    const NAME: &'static str = "ensure_event_rule";
    const STAGE: u8 = 1;
    const TIMED_OUT: ErrorCode = ErrorCode::EventRuleFailed;

    async fn run(&self, cx: &Context<'_>) -> Result<Outcome, StepError> {
        let failed = StepError::from_client(ErrorCode::EventRuleFailed);
        let settings = &cx.services.settings;
        let deployment = cx.deployment;
        let bus = cx.services.aws.controller().bus.describe(&settings.event_bus).await.map_err(&failed)?;
        let rule = cx.services.names.rule(&deployment.owner, &deployment.repo);
        let description = format!("Panda: image pushes of {}/{}", deployment.owner, deployment.repo);
        let pattern = push_event_pattern(&deployment.ecr_repository);
        cx.user.rules.put_rule(&rule, &pattern, &description).await.map_err(&failed)?;
        let assumed = settings.rule_target_role_arn.as_deref();
        cx.user.rules.put_target(&rule, RULE_TARGET_ID, &bus.arn, assumed).await.map_err(&failed)?;
        Ok(Outcome::next(GrantEventBus {}).telling(Event::new(EventCode::EventRuleCreated)))
    }
}
