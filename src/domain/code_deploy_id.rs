//! Ids of CodeDeploy deployments: `d-` and nine capital letters and digits.
//!
//! A pipeline that deploys with ECS alone may report the id of a service deployment or an ARN instead. CodeDeploy would refuse it only at the switch.

/// Why another id is refused, as a predicate.
pub const REFUSAL: &str = "is not the id of a CodeDeploy deployment (such as d-ABCDEF123)";

/// Longest id that is accepted, in bytes: AWS documents no length.
const MAX_BYTES: usize = 64;

/// Reports whether `id` can be the id of a CodeDeploy deployment.
pub fn is_valid(id: &str) -> bool {
    let rest = id.strip_prefix("d-").unwrap_or_default();
    !rest.is_empty() && id.len() <= MAX_BYTES && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_ids_of_code_deploy() {
        assert!(is_valid("d-ABCDEF123") && is_valid("d-1"));
        for other in [
            "",
            "d-",
            "D-ABCDEF123",
            "ecs-svc/1234567890123456789",
            "arn:aws:codedeploy:ap-northeast-2:123456789012:deployment:d-ABCDEF123",
            " d-ABCDEF123",
            "d-ABC DEF",
            "d-ABC/../x",
            "d-가나다",
            "7f3c1c1e-6d0b-4f0c-9b39-2f5b0f7f3c1c",
        ] {
            assert!(!is_valid(other), "{other}");
        }
        assert!(!is_valid(&format!("d-{}", "A".repeat(MAX_BYTES))));
    }
}
