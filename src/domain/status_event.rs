//! Status events of AWS, as EventBridge puts them on a queue: what they are about. Their content is never trusted; it only names what to look at.

use serde::Deserialize;

use super::code_deploy_id;

/// Longest name that is looked up, in bytes. Longer ones are no names of AWS.
const MAX_NAME_BYTES: usize = 2_048;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusSubject {
    /// An execution of Step Functions, by its ARN.
    Execution(String),
    /// A deployment of `CodeDeploy`.
    CodeDeploy {
        /// Account of twelve digits.
        account: String,
        /// Region of the event.
        region: String,
        /// Id in CodeDeploy, `d-…`.
        id: String,
    },
    /// A service of ECS.
    Service {
        /// Account of twelve digits.
        account: String,
        /// Region of the event.
        region: String,
        /// Name of the cluster.
        cluster: String,
        /// Name of the service.
        name: String,
    },
}

#[derive(Deserialize)]
struct Event {
    source: String,
    account: String,
    region: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    execution_arn: Option<String>,
    deployment_id: Option<String>,
    cluster_arn: Option<String>,
    group: Option<String>,
}

/// Returns the subject of a message; none for messages that are no status events of Step Functions, `CodeDeploy` or ECS services.
pub fn subject(message: &str) -> Option<StatusSubject> {
    let Event { source, account, region, resources, detail } = serde_json::from_str(message).ok()?;
    let subject = match source.as_str() {
        "aws.states" => StatusSubject::Execution(detail.execution_arn.or_else(|| resources.into_iter().next())?),
        "aws.codedeploy" => {
            let id = detail.deployment_id.filter(|id| code_deploy_id::is_valid(id))?;
            StatusSubject::CodeDeploy { account, region, id }
        }
        "aws.ecs" => {
            let (cluster, name) = service(&resources, &detail)?;
            StatusSubject::Service { account, region, cluster, name }
        }
        _ => return None,
    };
    subject.is_short().then_some(subject)
}

/// Returns cluster and name of an ECS service: from its ARN, `…:service/CLUSTER/NAME`, or from the cluster and the group `service:NAME` of a task.
fn service(resources: &[String], detail: &Detail) -> Option<(String, String)> {
    let of_arn = resources.iter().find_map(|arn| {
        let (cluster, name) = arn.split_once(":service/")?.1.split_once('/')?;
        Some((cluster.to_owned(), name.to_owned()))
    });
    of_arn.or_else(|| {
        let cluster = detail.cluster_arn.as_deref()?.split_once(":cluster/")?.1;
        Some((cluster.to_owned(), detail.group.as_deref()?.strip_prefix("service:")?.to_owned()))
    })
}

impl StatusSubject {
    fn is_short(&self) -> bool {
        let texts = match self {
            Self::Execution(arn) => vec![arn],
            Self::CodeDeploy { account, region, id } => vec![account, region, id],
            Self::Service { account, region, cluster, name } => vec![account, region, cluster, name],
        };
        // Postgres refuses the zero character, which JSON can contain.
        texts.iter().all(|text| text.len() <= MAX_NAME_BYTES && !text.contains('\0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(source: &str, resources: &[&str], detail: &serde_json::Value) -> String {
        json!({
            "version": "0", "id": "315c1398-40ff-a850-213b-158f73e60175", "detail-type": "any", "source": source, "account": "111122223333",
            "time": "2024-01-01T00:00:00Z", "region": "us-east-1", "resources": resources, "detail": detail,
        })
        .to_string()
    }

    #[test]
    fn reads_events_of_each_service() {
        let arn = "arn:aws:states:us-east-1:111122223333:execution:pipeline:one";
        let execution = StatusSubject::Execution(arn.into());
        assert_eq!(
            subject(&event("aws.states", &[arn], &json!({"executionArn": arn, "status": "SUCCEEDED"}))),
            Some(execution.clone())
        );
        assert_eq!(subject(&event("aws.states", &[arn], &json!({}))), Some(execution));
        let (account, region) = ("111122223333".to_owned(), "us-east-1".to_owned());
        let id = "d-123456789".to_owned();
        let deployment = StatusSubject::CodeDeploy { account: account.clone(), region: region.clone(), id };
        let detail = json!({"deploymentId": "d-123456789", "state": "SUCCESS"});
        assert_eq!(subject(&event("aws.codedeploy", &[], &detail)), Some(deployment));
        let service = StatusSubject::Service { account, region, cluster: "shop".into(), name: "web".into() };
        let arn = "arn:aws:ecs:us-east-1:111122223333:service/shop/web";
        let detail = json!({"eventType": "INFO", "deploymentId": "ecs-svc/1234567890"});
        assert_eq!(subject(&event("aws.ecs", &[arn], &detail)), Some(service.clone()));
        let detail = json!({"clusterArn": "arn:aws:ecs:us-east-1:111122223333:cluster/shop", "group": "service:web"});
        assert_eq!(
            subject(&event("aws.ecs", &["arn:aws:ecs:us-east-1:111122223333:task/shop/1"], &detail)),
            Some(service)
        );
    }

    #[test]
    fn ignores_everything_else() {
        let long = "x".repeat(300_000);
        for message in [
            String::new(),
            "no JSON".to_owned(),
            "[]".to_owned(),
            "[".repeat(100_000),
            json!({"source": "aws.states"}).to_string(),
            event("aws.s3", &["arn"], &json!({})),
            event("aws.states", &[], &json!({})),
            event("aws.states", &[], &json!({"executionArn": long})),
            event("aws.states", &[], &json!({"executionArn": "a\u{0}b"})),
            event("aws.states", &[], &json!({"executionArn": 7})),
            event("aws.codedeploy", &[], &json!({"deploymentId": "ecs-svc/1"})),
            event("aws.ecs", &["arn:aws:ecs:us-east-1:1:service/old-format"], &json!({})),
            event(
                "aws.ecs",
                &[],
                &json!({"group": "family:web", "clusterArn": "arn:aws:ecs:us-east-1:1:cluster/shop"}),
            ),
        ] {
            assert_eq!(subject(&message), None, "{}", &message[..message.len().min(200)]);
        }
    }
}
