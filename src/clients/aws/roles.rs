//! Which roles Panda assumes for users: none of the controller's own account that no option names, and on connecting only those whose trust
//! policy requires the external id of the tenant that connects them. Anybody can name a role; the external id is what says that its owner meant them.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use super::sts::{Assumed, CallerIdentity, Sts};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::aws_role::RoleArn;
use crate::domain::tenant::wrong_external_ids;

/// Why a role is not assumed, whatever its trust policy says.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RoleRefusal {
    /// It is no role's ARN.
    #[error("{0}")]
    NotARole(String),
    /// It is in the controller's account.
    #[error(
        "the role {role_arn} is in the controller's own account {account}, where only roles that --controller-roles (PANDA_CONTROLLER_ROLES) \
         names are assumed"
    )]
    ControllerAccount {
        /// The role.
        role_arn: String,
        /// The controller's account.
        account: String,
    },
    /// The controller cannot assume roles of another partition.
    #[error("the role is of the partition {role}, the controller's credentials are of {controller}")]
    OtherPartition {
        /// The role's.
        role: String,
        /// The controller's.
        controller: String,
    },
    /// Nothing can be decided.
    #[error("the account of the controller's own AWS credentials is not known, so no role is assumed ({0})")]
    ControllerUnknown(ClientError),
}

/// What a role's trust policy does with an external id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The role is assumed with the right external id and with no other.
    Requires {
        /// The role's account.
        account_id: String,
    },
    /// The role is not assumed with the right external id: STS's words.
    Refuses(String),
    /// The role is assumed without an external id as well, or with a wrong one.
    IsOpen,
}

/// Refuses roles of the controller's own account: every deployer could borrow the rights of that account otherwise.
#[derive(Clone)]
pub(super) struct RoleGuard {
    sts: Sts,
    allowed: Arc<[String]>,
    controller: Arc<OnceCell<CallerIdentity>>,
}

impl RoleGuard {
    pub(super) fn new(sts: Sts, allowed: Vec<String>) -> Self {
        Self { sts, allowed: allowed.into(), controller: Arc::default() }
    }

    /// Whether the role may be assumed at all. The controller's account is asked for once: the process keeps it.
    pub(super) async fn check(&self, role_arn: &str) -> Result<(), RoleRefusal> {
        let role = RoleArn::parse(role_arn).map_err(RoleRefusal::NotARole)?;
        let controller = self.controller.get_or_try_init(|| self.sts.caller_identity()).await;
        let controller = controller.map_err(RoleRefusal::ControllerUnknown)?;
        let partition = controller.arn.split(':').nth(1).unwrap_or_default();
        if role.partition != partition {
            let (role, controller) = (role.partition.to_owned(), partition.to_owned());
            return Err(RoleRefusal::OtherPartition { role, controller });
        }
        if role.account == controller.account_id && !self.allowed.iter().any(|allowed| allowed == role_arn) {
            let (role_arn, account) = (role_arn.to_owned(), controller.account_id.clone());
            return Err(RoleRefusal::ControllerAccount { role_arn, account });
        }
        Ok(())
    }

    /// The controller's account, as far as it is known.
    pub(super) fn account(&self) -> Option<&str> {
        self.controller.get().map(|controller| controller.account_id.as_str())
    }
}

/// Asks STS, with the controller's credentials, whether the role requires `external_id`. A call that fails for another reason decides nothing.
pub(super) async fn trust(sts: &Sts, role_arn: &str, external_id: &SecretString) -> Result<Trust, ClientError> {
    let right = external_id.expose_secret();
    let account_id = match sts.try_role(role_arn, Some(right)).await? {
        Assumed::AccessDenied(words) => return Ok(Trust::Refuses(words)),
        Assumed::Session(arn) => account_of(role_arn, &arn)?,
    };
    let [random, near] = wrong_external_ids(right);
    let (without, random, near) = tokio::try_join!(
        sts.try_role(role_arn, None),
        sts.try_role(role_arn, Some(&random)),
        sts.try_role(role_arn, Some(&near)),
    )?;
    let open = [without, random, near].iter().any(|answer| matches!(answer, Assumed::Session(_)));
    Ok(if open { Trust::IsOpen } else { Trust::Requires { account_id } })
}

/// The account of a session, which must be one of the role that was asked for.
fn account_of(role_arn: &str, session: &str) -> Result<String, ClientError> {
    let role = RoleArn::parse(role_arn).ok().filter(|role| role.is_session(session));
    let wrong = || ClientError::new(ErrorKind::Invalid, "sts:AssumeRole", "the answer is a session of another role");
    role.map(|role| role.account.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_another_role_is_not_taken() {
        let role = "arn:aws:iam::123456789012:role/team/panda";
        let session = |account: &str, name: &str| format!("arn:aws:sts::{account}:assumed-role/{name}/panda");
        assert_eq!(account_of(role, &session("123456789012", "panda")).unwrap(), "123456789012");
        assert!(account_of(role, &session("123456789013", "panda")).is_err());
        assert!(account_of(role, &session("123456789012", "other")).is_err());
    }
}
