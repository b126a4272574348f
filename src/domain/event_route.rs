//! The way of an event from an account's default bus to the controller's event bus, and the role that EventBridge assumes on it.
//!
//! Since February 2023, EventBridge requires a role for each new target that is a bus of another account or region. The role belongs to the
//! rule's own account.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::aws_role::{RoleArn, partition};
use super::message::{Message, message};

/// Parts of an event bus's ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusArn<'a> {
    /// Partition such as `aws`.
    pub partition: &'a str,
    /// Region of the bus.
    pub region: &'a str,
    /// Account of the bus, twelve digits.
    pub account: &'a str,
}

impl<'a> BusArn<'a> {
    /// Parses `arn:PARTITION:events:REGION:ACCOUNT:event-bus/NAME`; `None` for anything else.
    pub fn parse(arn: &'a str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let &["arn", partition, "events", region, account, bus] = parts.as_slice() else { return None };
        bus.starts_with("event-bus/").then_some(Self { partition, region, account })
    }
}

/// Relation of the account and region of a rule to those of the bus that the rule targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRoute {
    /// Same account and region: needs neither a role nor a statement in the bus policy.
    Local,
    /// Same account, another region: needs a role.
    OtherRegion,
    /// Another account: needs a role and a statement.
    OtherAccount,
}

impl EventRoute {
    /// Returns the route from an account's region to the bus.
    pub fn to(bus_arn: &str, account: &str, region: &str) -> Self {
        match BusArn::parse(bus_arn) {
            Some(bus) if bus.account == account && bus.region == region => Self::Local,
            Some(bus) if bus.account == account => Self::OtherRegion,
            _ => Self::OtherAccount,
        }
    }

    /// Reports whether EventBridge requires a role for a new target.
    pub fn needs_role(self) -> bool {
        self != Self::Local
    }

    /// Reports whether the bus policy must permit the account.
    pub fn needs_statement(self) -> bool {
        self == Self::OtherAccount
    }
}

/// Checks that a role for the target of an account's rules belongs to that account and partition.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_target_role(role_arn: &str, account: &str, region: &str) -> Result<(), Message> {
    let role = RoleArn::parse(role_arn)?;
    let region_partition = partition(region);
    if role.partition != region_partition {
        return Err(message!("rule.role_partition", role_partition = role.partition, region, region_partition));
    }
    if role.account == account {
        return Ok(());
    }
    Err(message!("rule.target_role_account", role_account = role.account, account))
}

/// Returns the configured default role, if it belongs to the account. `{account}` in it stands for the account's id.
pub fn default_target_role(setting: Option<&str>, account: &str) -> Option<String> {
    let role = setting?.replace("{account}", account);
    RoleArn::parse(&role).is_ok_and(|parsed| parsed.account == account).then_some(role)
}

/// The role that Panda creates for the targets of an account's rules in one region.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetRole {
    /// Name of the role.
    pub name: String,
    /// ARN of the role.
    pub arn: String,
    /// Policy with the condition under which EventBridge assumes it: for Panda's rules of this account and region.
    pub trust_policy: Value,
    /// Inline policy: `events:PutEvents` on the bus.
    pub policy: Value,
}

impl TargetRole {
    /// Name of the inline policy.
    pub const POLICY_NAME: &'static str = "panda-put-events";

    /// Describes the role for rules whose names begin with `rule_prefix`.
    pub fn new(bus_arn: &str, account: &str, region: &str, rule_prefix: &str) -> Self {
        let partition = partition(region);
        let name = format!("panda-events-{region}-{}", hex::encode(&Sha256::digest(bus_arn)[..4]));
        let rules = format!("arn:{partition}:events:{region}:{account}:rule/{rule_prefix}*");
        Self {
            arn: format!("arn:{partition}:iam::{account}:role/{name}"),
            name,
            trust_policy: json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": rules}},
            }]}),
            policy: json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus_arn},
            ]}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUS: &str = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";

    #[test]
    fn route_depends_on_account_and_region() {
        use EventRoute::{Local, OtherAccount, OtherRegion};
        for (account, region, route) in [
            ("123456789012", "ap-northeast-2", Local),
            ("123456789012", "us-east-1", OtherRegion),
            ("210987654321", "ap-northeast-2", OtherAccount),
            ("210987654321", "us-east-1", OtherAccount),
        ] {
            assert_eq!(EventRoute::to(BUS, account, region), route);
        }
        assert_eq!(EventRoute::to("panda", "123456789012", "us-east-1"), OtherAccount);
        assert!(!Local.needs_role() && OtherRegion.needs_role() && OtherAccount.needs_role());
        assert!(!Local.needs_statement() && !OtherRegion.needs_statement() && OtherAccount.needs_statement());
    }

    #[test]
    fn target_role_belongs_to_the_rules_account() {
        let check =
            |role: &str| check_target_role(role, "210987654321", "ap-northeast-2").map_err(|rule| rule.to_string());
        assert!(check("arn:aws:iam::210987654321:role/team/events").is_ok());
        assert!(check("arn:aws:iam::123456789012:role/events").unwrap_err().contains("123456789012"));
        assert!(check("arn:aws-cn:iam::210987654321:role/events").unwrap_err().contains("aws-cn"));
        assert!(check("events").is_err());
    }

    #[test]
    fn default_role_is_for_its_account_only() {
        let default = |setting| default_target_role(Some(setting), "210987654321");
        let own = "arn:aws:iam::210987654321:role/events";
        assert_eq!(default(own).as_deref(), Some(own));
        assert_eq!(default("arn:aws:iam::123456789012:role/events"), None);
        assert_eq!(default("arn:aws:iam::{account}:role/events").as_deref(), Some(own));
        assert_eq!(default_target_role(None, "210987654321"), None);
    }

    #[test]
    fn created_role_may_only_put_events_on_the_bus() {
        let role = TargetRole::new(BUS, "210987654321", "ap-northeast-2", "panda-ecr-push-");
        assert!(role.name.starts_with("panda-events-ap-northeast-2-") && role.name.len() <= 64);
        assert!(check_target_role(&role.arn, "210987654321", "ap-northeast-2").is_ok());
        assert_eq!(role.policy["Statement"][0]["Resource"], BUS);
        assert_eq!(role.policy["Statement"][0]["Action"], "events:PutEvents");
        let condition = &role.trust_policy["Statement"][0]["Condition"];
        assert_eq!(condition["StringEquals"]["aws:SourceAccount"], "210987654321");
        let rules = "arn:aws:events:ap-northeast-2:210987654321:rule/panda-ecr-push-*";
        assert_eq!(condition["ArnLike"]["aws:SourceArn"], rules);
        let elsewhere = TargetRole::new(&BUS.replace("panda", "other"), "210987654321", "ap-northeast-2", "x");
        assert_ne!(role.name, elsewhere.name);
    }
}
