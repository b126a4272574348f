//! Names and ARNs of a service's parts in the load balancer, which follow from the repository.

use sha2::{Digest, Sha256};

use super::accounts::{REGION, USER_ACCOUNT};

/// Name of one of the two target groups, 1 or 2: at most 32 characters, and unique.
pub fn target_group(repository: &str, number: u8) -> String {
    format!("{}-{}-{number}", short(repository), &hash(repository)[..6])
}

pub fn target_group_arn(repository: &str, number: u8) -> String {
    let id = &hash(&format!("{repository}/{number}"))[..16];
    format!(
        "arn:aws:elasticloadbalancing:{REGION}:{USER_ACCOUNT}:targetgroup/{}/{id}",
        target_group(repository, number)
    )
}

pub fn balancer_arn(repository: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{USER_ACCOUNT}:loadbalancer/app/{}", balancer(repository))
}

/// ARN of the `production` or `test` listener.
pub fn listener_arn(repository: &str, name: &str) -> String {
    format!(
        "arn:aws:elasticloadbalancing:{REGION}:{USER_ACCOUNT}:listener/app/{}/{}",
        balancer(repository),
        &hash(&format!("{repository}/{name}"))[..16]
    )
}

/// ARN of the only rule of a listener, which is its default.
pub fn rule_arn(listener_arn: &str) -> String {
    let rule = &hash(listener_arn)[..16];
    format!("{}/{rule}", listener_arn.replacen(":listener/", ":listener-rule/", 1))
}

fn balancer(repository: &str) -> String {
    format!("{}-{}/{}", short(repository), &hash(repository)[..6], &hash(&format!("{repository}/balancer"))[..16])
}

fn short(repository: &str) -> String {
    let name: String = repository.replace(['/', '.', '_'], "-").chars().take(20).collect();
    name.trim_end_matches('-').to_owned()
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
