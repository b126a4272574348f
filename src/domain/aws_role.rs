//! ARNs of IAM roles, and the AWS partitions of regions.

use super::message::{Message, message};

/// IAM's limit for the name of a role, in characters.
const MAX_NAME: usize = 64;

/// IAM's limit for the path of a role including slashes, in characters.
const MAX_PATH: usize = 512;

/// Parsed ARN of an IAM role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleArn<'a> {
    /// Partition `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
    /// AWS account, twelve digits.
    pub account: &'a str,
    /// Name of the role, without its path.
    pub name: &'a str,
}

impl<'a> RoleArn<'a> {
    /// Parses `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
    ///
    /// # Errors
    /// The rule that the text breaks, with an example.
    pub fn parse(text: &'a str) -> Result<Self, Message> {
        let wrong = || message!("rule.role_arn");
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let &[arn, partition, service, region, account, resource] = parts.as_slice() else { return Err(wrong()) };
        let known = arn == "arn" && matches!(partition, "aws" | "aws-cn" | "aws-us-gov");
        if known && service == "sts" && resource.starts_with("assumed-role/") {
            return Err(message!("rule.role_session"));
        }
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let path =
            resource.strip_prefix("role/").filter(|_| known && service == "iam" && region.is_empty() && is_account);
        let path = path.ok_or_else(wrong)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let fits =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
        if path.split('/').all(fits) && name.len() <= MAX_NAME && path.len() - name.len() < MAX_PATH {
            Ok(Self { partition, account, name })
        } else {
            Err(wrong())
        }
    }

    /// Returns true if `arn` is a session of this role. STS names sessions without the role's path.
    pub fn is_session(&self, arn: &str) -> bool {
        let start = format!("arn:{}:sts::{}:assumed-role/{}/", self.partition, self.account, self.name);
        arn.starts_with(&start)
    }
}

/// Returns the stable identity of credentials for which STS reports `arn`: a role without its session, since each session has another name.
pub fn identity(arn: &str) -> &str {
    let Some((start, rest)) = arn.split_once(":assumed-role/") else { return arn };
    let name = rest.split('/').next().unwrap_or_default();
    &arn[..start.len() + ":assumed-role/".len() + name.len()]
}

/// Returns the partition of a region. Accounts, roles and credentials of one partition are unknown in another.
pub fn partition(region: &str) -> &'static str {
    const BY_START: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    BY_START.iter().find(|(start, _)| region.starts_with(start)).map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_arn_of_a_role() {
        let plain = RoleArn::parse("arn:aws:iam::123456789012:role/panda").unwrap();
        assert_eq!((plain.partition, plain.account, plain.name), ("aws", "123456789012", "panda"));
        let path = RoleArn::parse("arn:aws-cn:iam::123456789012:role/team/a/panda").unwrap();
        assert_eq!((path.partition, path.name), ("aws-cn", "panda"));
        assert!(path.is_session("arn:aws-cn:sts::123456789012:assumed-role/panda/s"));
        assert!(!path.is_session("arn:aws-cn:sts::123456789012:assumed-role/panda2/s"));
        assert!(!path.is_session("arn:aws:sts::123456789012:assumed-role/panda/s"));
        assert!(!path.is_session("arn:aws-cn:sts::123456789013:assumed-role/panda/s"));
    }

    #[test]
    fn rejects_other_arns() {
        for bad in [
            "",
            "panda",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role//panda",
            "arn:aws:iam::123456789012:role/team/",
            "arn:aws:iam::12345678901:role/panda",
            "arn:aws:iam::1234567890123:role/panda",
            "arn:aws:iam::12345678901a:role/panda",
            "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/panda",
            "arn:aws:iam::123456789012:user/panda",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:iam:us-east-1:123456789012:role/panda",
            "arn:aws:s3:::bucket",
            "arn:aws:sts::123456789012:role/panda",
            "arn:aws-mars:iam::123456789012:role/panda",
            "ARN:aws:iam::123456789012:role/panda",
            "arn:aws:iam::123456789012:Role/panda",
            "arn:aws:iam::123456789012:role/pan da",
            " arn:aws:iam::123456789012:role/panda",
            "arn:aws:iam::123456789012:role/panda\n",
            "arn:aws:iam::123456789012:role/panda:x",
            "arn:aws:iam::123456789012:role/*",
            &format!("arn:aws:iam::123456789012:role/{}", "x".repeat(65)),
            &format!("arn:aws:iam::123456789012:role/{}/x", "y".repeat(513)),
        ] {
            assert!(RoleArn::parse(bad).is_err(), "{bad}");
        }
        let session = RoleArn::parse("arn:aws:sts::123456789012:assumed-role/panda/session").unwrap_err();
        assert!(session.to_string().contains("session"), "{session}");
    }

    #[test]
    fn sessions_of_a_role_share_one_identity() {
        assert_eq!(identity("arn:aws:iam::1:user/team/a"), "arn:aws:iam::1:user/team/a");
        let role = "arn:aws:sts::1:assumed-role/panda";
        assert_eq!(identity("arn:aws:sts::1:assumed-role/panda/monday"), role);
        assert_eq!(identity("arn:aws:sts::1:assumed-role/panda/a@b.example"), role);
    }

    #[test]
    fn maps_regions_to_partitions() {
        let regions = ["ap-northeast-2", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-east-1"];
        assert_eq!(regions.map(partition), ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws"]);
    }
}
