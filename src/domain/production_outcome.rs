//! Outcome of a deployment in production, as a caller marks it. Names follow the definitions of dora.dev since 2024.

use super::message::{Message, message};

/// Judgement of a deployment whose traffic was on green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = Message, parse_err_fn = unknown)]
pub enum ProductionOutcome {
    /// It needed no immediate intervention, even if a hotfix or rollback followed.
    Ok,
    /// It needed immediate intervention: a failed deployment.
    Failed,
    /// It was unplanned, because of an incident: rework.
    Rework,
}

impl ProductionOutcome {
    /// Returns the name used in the table and on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown(text: &str) -> Message {
    message!("rule.production_outcome", value = format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_its_own_names_only() {
        for outcome in [ProductionOutcome::Ok, ProductionOutcome::Failed, ProductionOutcome::Rework] {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        assert!("OK".parse::<ProductionOutcome>().is_err());
    }
}
