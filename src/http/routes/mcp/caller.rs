//! The caller of tools in one request, with what tools need of it.

use axum::extract::State;
use tracing::Span;

use crate::domain::lang::Lang;
use crate::domain::principal::Caller;
use crate::http::ApiState;
use crate::http::auth::{Grant, MinimumRole, RequireRole};
use crate::http::error::ApiError;
use crate::http::middleware::audit_refusals::RefusalRecorder;

/// Records of the calls of tools. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallRecorders {
    /// Counts calls that were answered.
    pub answered: RefusalRecorder,
    /// Counts calls that were refused.
    pub refused: RefusalRecorder,
}

/// The caller of tools in one request. Cheap to clone.
#[derive(Clone)]
pub struct ToolCaller {
    /// State of all handlers.
    pub state: ApiState,
    /// Records of this process.
    pub recorders: CallRecorders,
    /// Caller of the request, at least a viewer.
    pub caller: Caller,
    /// Grant that authenticated the caller.
    pub grant: Grant,
    /// Language of texts in answers.
    pub lang: Lang,
    /// Span of the request, which its tasks share.
    pub span: Span,
}

impl ToolCaller {
    /// The caller as an endpoint's argument that requires a role.
    ///
    /// # Errors
    /// The role is too low.
    pub fn role<R: MinimumRole>(&self) -> Result<RequireRole<R>, ApiError> {
        RequireRole::of(&self.caller, &self.grant)
    }

    /// The state as an endpoint's argument.
    pub fn state(&self) -> State<ApiState> {
        State(self.state.clone())
    }
}
