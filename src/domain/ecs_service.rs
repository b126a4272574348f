//! Names of ECS clusters and services, as outputs of the pipeline have them: a name, or an ARN of the deployment's account and region.

use super::message::{Message, message};
use super::text;

/// Longest name of a cluster or service.
const MAX_NAME: usize = 255;

/// Longest refused value in a message, in characters.
const SHOWN_CHARS: usize = 200;

/// A service of ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the service.
    pub service: String,
}

impl ServiceName {
    /// Reads `clusterName` and `serviceName` of an output.
    ///
    /// # Errors
    /// Names the member that is neither a name nor an ARN of the `account` and `region`, and the remedy.
    pub fn read(cluster: &str, service: &str, account: &str, region: &str) -> Result<Self, Message> {
        let refused = |field: &'static str, value: &str| {
            let value = format!("{:?}", text::cut(value, SHOWN_CHARS));
            message!("reason.service_name_refused", field, value, account, region)
        };
        let resource = |arn: &str, kind: &str| -> Option<Vec<String>> {
            let mut parts = arn.splitn(6, ':');
            let head = [parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?];
            let ["arn", partition, "ecs", of_region, of_account] = head else { return None };
            let names = parts.next()?.strip_prefix(kind)?.split('/').map(str::to_owned).collect::<Vec<_>>();
            let own = partition.starts_with("aws") && of_region == region && of_account == account;
            (own && names.iter().all(|name| is_name(name))).then_some(names)
        };
        let cluster = if is_name(cluster) {
            cluster.to_owned()
        } else {
            let names = resource(cluster, "cluster/").filter(|names| names.len() == 1);
            names.and_then(|names| names.into_iter().next()).ok_or_else(|| refused("clusterName", cluster))?
        };
        if is_name(service) {
            return Ok(Self { cluster, service: service.to_owned() });
        }
        // ARNs of services had no cluster before 2018.
        match resource(service, "service/").as_deref() {
            Some([name]) => Ok(Self { cluster, service: name.clone() }),
            Some([of_cluster, name]) if *of_cluster == cluster => Ok(Self { cluster, service: name.clone() }),
            _ => Err(refused("serviceName", service)),
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lang::Lang;

    #[test]
    fn names_and_own_arns_are_read() {
        let read = |cluster: &str, service: &str| {
            ServiceName::read(cluster, service, "123456789012", "ap-northeast-2")
                .map(|name| (name.cluster, name.service))
                .map_err(|refused| refused.text(Lang::En))
        };
        let place = "arn:aws:ecs:ap-northeast-2:123456789012";
        let expected = Ok(("main".to_owned(), "shop_1".to_owned()));
        assert_eq!(read("main", "shop_1"), expected);
        assert_eq!(read(&format!("{place}:cluster/main"), &format!("{place}:service/main/shop_1")), expected);
        assert_eq!(read("main", &format!("{place}:service/shop_1")), expected);
        for (cluster, service, field) in [
            ("", "shop", "clusterName"),
            ("ma in", "shop", "clusterName"),
            ("arn:aws:ecs:ap-northeast-2:999999999999:cluster/main", "shop", "clusterName"),
            ("arn:aws:ecs:us-east-1:123456789012:cluster/main", "shop", "clusterName"),
            ("main", "", "serviceName"),
            ("main", "a/b", "serviceName"),
            ("main", "arn:aws:ecs:ap-northeast-2:123456789012:service/other/shop", "serviceName"),
            ("main", "arn:aws:ecs:ap-northeast-2:999999999999:service/main/shop", "serviceName"),
            ("main", "arn:aws:ecs:ap-northeast-2:123456789012:service/main/shop/1", "serviceName"),
            ("main", &"s".repeat(256), "serviceName"),
        ] {
            let refused = read(cluster, service).unwrap_err();
            assert!(refused.contains(field) && refused.contains("123456789012"), "{refused}");
        }
    }
}
