//! The services, and their names in the protocols.

/// An AWS service, identified by the prefix of `X-Amz-Target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsService {
    Sts,
    Iam,
    Events,
    Ecr,
    SecretsManager,
    StepFunctions,
    CodeDeploy,
    Ecs,
    ElasticLoadBalancing,
    CloudWatch,
}

impl AwsService {
    /// Finds the service whose calls have this prefix.
    pub fn of_target(prefix: &str) -> Option<Self> {
        Some(match prefix {
            "AWSEvents" => Self::Events,
            "AmazonEC2ContainerRegistry_V20150921" => Self::Ecr,
            "secretsmanager" => Self::SecretsManager,
            "AWSStepFunctions" => Self::StepFunctions,
            "CodeDeploy_20141006" => Self::CodeDeploy,
            "AmazonEC2ContainerServiceV20141113" => Self::Ecs,
            _ => return None,
        })
    }

    /// Finds the service that has this name in the paths of Smithy RPC v2.
    pub fn of_path(name: &str) -> Option<Self> {
        (name == "GraniteServiceVersion20100801").then_some(Self::CloudWatch)
    }

    /// Returns true for the services of Smithy RPC v2, which send CBOR.
    pub fn is_cbor(self) -> bool {
        matches!(self, Self::CloudWatch)
    }

    /// The service of a form body with this API version: each Query service has its own.
    pub fn of_version(version: Option<&str>) -> Self {
        match version {
            Some("2010-05-08") => Self::Iam,
            Some("2015-12-01") => Self::ElasticLoadBalancing,
            _ => Self::Sts,
        }
    }

    /// Returns true for the services of the Query protocol, which send XML.
    pub fn is_query(self) -> bool {
        matches!(self, Self::Sts | Self::Iam | Self::ElasticLoadBalancing)
    }

    /// Prefix of the service's calls in IAM.
    pub fn iam_prefix(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::Events => "events",
            Self::Ecr => "ecr",
            Self::SecretsManager => "secretsmanager",
            Self::StepFunctions => "states",
            Self::CodeDeploy => "codedeploy",
            Self::Ecs => "ecs",
            Self::ElasticLoadBalancing => "elasticloadbalancing",
            Self::CloudWatch => "cloudwatch",
        }
    }

    /// Content type of the service's responses.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sts | Self::Iam | Self::ElasticLoadBalancing => "text/xml",
            Self::CloudWatch => "application/cbor",
            Self::StepFunctions => "application/x-amz-json-1.0",
            _ => "application/x-amz-json-1.1",
        }
    }
}
