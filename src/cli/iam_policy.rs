//! `panda iam-policy`: prints the policies of Panda's identities in AWS. Calls nothing.

use clap::{Args, Subcommand};

use super::progress::print;
use super::sanitize;
use crate::domain::aws_permissions::{AwsIdentity, Feature, PolicyNames, policy};
use crate::domain::names::Names;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda iam-policy controller --region ap-northeast-2 --account 123456789012
  panda iam-policy user --region ap-northeast-2 --account 210987654321 --repositories 'acme-*'

Prints the least that Panda needs, as a policy in JSON; calls nothing. docs/aws.md describes the permissions; the templates in aws/ have the same.")]
pub struct IamPolicyArgs {
    #[command(subcommand)]
    command: IamPolicyCommand,
}

#[derive(Debug, Subcommand)]
enum IamPolicyCommand {
    /// Print the policy of Panda's own identity, in the controller's account
    Controller(ControllerArgs),
    /// Print the policy of a connection's role or user, in the user's account
    User(UserArgs),
}

/// Place of the resources.
#[derive(Args, Debug)]
struct PlaceArgs {
    /// Partition of AWS
    #[arg(long, default_value = "aws")]
    partition: String,
    /// Region of the resources; * for all
    #[arg(long, default_value = "*")]
    region: String,
    /// Id of the account of the resources; * for any
    #[arg(long, default_value = "*")]
    account: String,
}

#[derive(Args, Debug)]
struct ControllerArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Name of the event bus
    #[arg(long, default_value = "panda")]
    bus: String,
    /// Let Panda write the policy of the bus, for PANDA_BUS_POLICY other than managed
    #[arg(long)]
    write_bus_policy: bool,
    /// Name of the state machine, or a pattern of names
    #[arg(long, default_value = "panda")]
    state_machine: String,
    /// Names of the roles of connections, as a pattern
    #[arg(long, default_value = "panda-access*")]
    roles: String,
    /// Add what panda check reads beyond what deployments do
    #[arg(long)]
    preflight: bool,
    /// Panda's own identity, for --preflight: role/NAME or user/NAME
    #[arg(long, default_value = "role/panda-controller")]
    identity: String,
    /// ARN of the queue with status events; none by default
    #[arg(long, value_name = "ARN")]
    status_queue: Option<String>,
    /// ARN of the KMS key that encrypts stored secrets; none by default
    #[arg(long, value_name = "ARN")]
    kms_key: Option<String>,
}

#[derive(Args, Debug)]
struct UserArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Names of the ECR repositories, as a pattern
    #[arg(long, default_value = "*")]
    repositories: String,
    /// Applications and groups of CodeDeploy, as a pattern
    #[arg(long, default_value = "panda-*")]
    deployment_groups: String,
    /// ARN of the role of the rules; default: panda-events of the account
    #[arg(long, value_name = "ARN")]
    target_role: Option<String>,
    /// Add what panda check reads beyond what deployments do
    #[arg(long)]
    preflight: bool,
    /// Identity of the connection, for --preflight: role/NAME or user/NAME
    #[arg(long, default_value = "role/panda-access")]
    identity: String,
    /// Let Panda create the role of the rules
    #[arg(long)]
    create_role: bool,
}

/// Prints the policy of the identity that the arguments name.
pub fn run(args: IamPolicyArgs) {
    let (identity, scope) = match args.command {
        IamPolicyCommand::Controller(args) => (AwsIdentity::Controller, args.scope()),
        IamPolicyCommand::User(args) => (AwsIdentity::User, args.scope()),
    };
    print(&sanitize::json(&policy(identity, &scope)));
}

impl PlaceArgs {
    fn values(self) -> Vec<(&'static str, String)> {
        vec![("partition", self.partition), ("region", self.region), ("account", self.account)]
    }
}

impl ControllerArgs {
    fn scope(self) -> PolicyNames {
        let features = [
            (self.write_bus_policy, Feature::WritesBusPolicy),
            (self.status_queue.is_some(), Feature::StatusQueue),
            (self.kms_key.is_some(), Feature::KmsKeys),
            (self.preflight, Feature::Preflight),
        ];
        let mut values = self.place.values();
        values.extend([
            ("bus", self.bus),
            ("machine", self.state_machine),
            ("role", self.roles),
            ("secret", Names::default().secret_prefix().to_owned()),
            ("queue", self.status_queue.unwrap_or_default()),
            ("key", self.kms_key.unwrap_or_default()),
            ("identity", self.identity),
        ]);
        PolicyNames { values, features: chosen(&features) }
    }
}

impl UserArgs {
    fn scope(self) -> PolicyNames {
        let default = format!("arn:{}:iam::{}:role/panda-events", self.place.partition, self.place.account);
        let features = [(self.create_role, Feature::CreatesRuleRole), (self.preflight, Feature::Preflight)];
        let target_role = self.target_role.unwrap_or(default);
        let mut values = self.place.values();
        values.extend([
            ("repositories", self.repositories),
            ("group", self.deployment_groups),
            ("rules", Names::default().rule_prefix().to_owned()),
            ("target_role", target_role),
            ("identity", self.identity),
        ]);
        PolicyNames { values, features: chosen(&features) }
    }
}

fn chosen(features: &[(bool, Feature)]) -> Vec<Feature> {
    features.iter().filter(|(wanted, _)| *wanted).map(|(_, feature)| *feature).collect()
}
