//! What the caller may do with a deployment, and why not.

use crate::db::deployments::DeploymentView;
use crate::domain::principal::Role;
use crate::http::page::context::Page;

/// The actions of a view: each absent where the state forbids it, and with a reason where the role does.
pub struct Actions {
    pub switch: Option<ActionButton>,
    pub cancel: Option<ActionButton>,
    pub retry: Option<ActionButton>,
    pub rollback: Option<ActionButton>,
    pub repeat: ActionButton,
}

/// The button of an action that the state allows.
pub struct ActionButton {
    /// Why the caller may not do it; none if they may.
    pub refused: Option<String>,
}

impl Actions {
    /// `excluded`: text of the reason for which the caller may not approve, whatever the role; `can_return`: an earlier version can return. Decides the actions by the rules of the commands, which decide again when they are carried out.
    pub fn of(page: &Page, row: &DeploymentView, excluded: Option<&str>, can_return: bool) -> Self {
        let switching = row.switch_requested_at.is_some();
        let needs = |role: Role| ActionButton {
            refused: (!page.may(role.as_str())).then(|| page.named("needs", role.as_str())),
        };
        let changes = Role::to_cancel_or_retry(switching);
        let unfinished = matches!(row.status.as_str(), "RUNNING" | "DEPLOYMENT_READY");
        let switch = (row.status == "DEPLOYMENT_READY" && !switching && row.cancel_requested_at.is_none()).then(|| {
            let action = needs(Role::Approver);
            ActionButton { refused: action.refused.or_else(|| excluded.map(|why| page.t(why))) }
        });
        Self {
            switch,
            cancel: (unfinished && row.cancel_requested_at.is_none()).then(|| needs(changes)),
            retry: (row.status == "FAILED").then(|| needs(changes)),
            rollback: can_return.then(|| needs(Role::Approver)),
            repeat: needs(Role::Deployer),
        }
    }
}
