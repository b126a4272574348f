//! Rules for the roles that Panda assumes for users. A role of the controller's own account is refused unless an option names it. On connecting, the
//! role's trust policy must require the external id of the tenant that connects it: anyone can name a role, and only the external id proves that its
//! owner agreed.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use super::sts::{Assumed, CallerIdentity, Sts};
use crate::clients::{ClientError, ErrorKind};
use crate::domain::aws_role::RoleArn;
use crate::domain::message::Message;
use crate::domain::tenant::wrong_external_ids;

/// Reason why a role is not assumed, regardless of its trust policy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RoleRefusal {
    /// The ARN is not the ARN of a role.
    #[error("{0}")]
    NotARole(Message),
    /// The role is in the controller's account and not in the list of allowed roles.
    #[error(
        "the role {role_arn} is in the controller's own account {account}, where only roles that --controller-roles (PANDA_CONTROLLER_ROLES) \
         names are assumed"
    )]
    ControllerAccount {
        /// The refused ARN, from the request or the stored connection.
        role_arn: String,
        /// Account id of the controller.
        account: String,
    },
    /// A role of another AWS partition cannot be assumed.
    #[error("the role is of the partition {role}, the controller's credentials are of {controller}")]
    OtherPartition {
        /// Partition of the role.
        role: String,
        /// Partition of the controller.
        controller: String,
    },
    /// The controller's account is unknown, so its roles cannot be recognised.
    #[error("the account of the controller's own AWS credentials is not known, so no role is assumed ({0})")]
    ControllerUnknown(ClientError),
}

/// Behaviour of a role's trust policy towards an external id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The role can be assumed with the right external id only.
    Requires {
        /// Account id of the role.
        account_id: String,
    },
    /// The role cannot be assumed with the right external id; contains STS's message.
    Refuses(String),
    /// The role can be assumed without an external id, or with a wrong one.
    IsOpen,
}

/// Refuses roles of the controller's own account: otherwise every deployer could borrow the permissions of that account.
#[derive(Clone)]
pub(super) struct RoleGuard {
    sts: Sts,
    allowed: Arc<[String]>,
    controller: Arc<OnceCell<CallerIdentity>>,
}

impl RoleGuard {
    pub(super) fn new(sts: Sts, controller: Arc<OnceCell<CallerIdentity>>, allowed: Vec<String>) -> Self {
        Self { sts, allowed: allowed.into(), controller }
    }

    /// Checks that the role may be assumed. The controller's account id is requested once and cached for the lifetime of the process.
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

    /// Returns the controller's account id if it is cached.
    pub(super) fn account(&self) -> Option<&str> {
        self.controller.get().map(|controller| controller.account_id.as_str())
    }
}

/// Asks STS, with the controller's credentials, whether the role requires `external_id`. A call that fails for another reason is returned as an
/// error.
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

/// Extracts the account id of a session, which must belong to the requested role.
fn account_of(role_arn: &str, session: &str) -> Result<String, ClientError> {
    let role = RoleArn::parse(role_arn).ok().filter(|role| role.is_session(session));
    let wrong = || ClientError::new(ErrorKind::Invalid, "sts:AssumeRole", "the answer is a session of another role");
    role.map(|role| role.account.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_session_of_another_role() {
        let role = "arn:aws:iam::123456789012:role/team/panda";
        let session = |account: &str, name: &str| format!("arn:aws:sts::{account}:assumed-role/{name}/panda");
        assert_eq!(account_of(role, &session("123456789012", "panda")).unwrap(), "123456789012");
        assert!(account_of(role, &session("123456789013", "panda")).is_err());
        assert!(account_of(role, &session("123456789012", "other")).is_err());
    }
}
