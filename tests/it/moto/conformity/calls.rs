//! Calls on the wire: the shape of each answer, and the exact code of each error.

use serde_json::{Value, json};

use super::Who::{Controller, User};
use super::compare::{Gap, Transcript};
use super::{Pair, Side};

const EXECUTION: &str = "arn:aws:states:ap-northeast-2:123456789012:execution:panda-deployment:none";
const MACHINE: &str = "arn:aws:states:ap-northeast-2:123456789012:stateMachine:none";

async fn ask(side: &Side, questions: Vec<(super::Who, &str, Value)>) -> Transcript {
    let mut transcript = Transcript::new();
    for (number, (who, target, input)) in questions.into_iter().enumerate() {
        let operation = target.rsplit('.').next().unwrap();
        transcript.push((format!("{}:{operation}", number + 1), side.call(who, target, input).await));
    }
    transcript
}

macro_rules! questions {
    ($service:literal, $who:ident: $($operation:literal $input:tt),+ $(,)?) => {
        vec![$(($who, concat!($service, ".", $operation), json!($input))),+]
    };
}

#[tokio::test]
async fn conformity__ecr_calls() {
    let ecr = async |side: &Side| {
        let arn = "arn:aws:ecr:ap-northeast-2:210987654321:repository/acme-shop";
        let questions = questions! { "AmazonEC2ContainerRegistry_V20150921", User:
            "DescribeRepositories" {"repositoryNames": ["acme-shop"]},
            "DescribeRepositories" {},
            "DescribeImages" {"repositoryName": "acme-shop"},
            "BatchGetImage" {"repositoryName": "acme-shop", "imageIds": [{"imageTag": "v1"}]},
            "ListTagsForResource" {"resourceArn": arn},
            "CreateRepository" {"repositoryName": "acme-shop", "tags": [{"Key": "a", "Value": "b"}]},
            "CreateRepository" {"repositoryName": "acme-shop"},
            "CreateRepository" {"repositoryName": "UPPER"},
            "DescribeRepositories" {"repositoryNames": ["acme-shop"]},
            "DescribeRepositories" {"repositoryNames": ["acme-shop", "none"]},
            "ListTagsForResource" {"resourceArn": arn},
            "DescribeImages" {"repositoryName": "acme-shop"},
            "DescribeImages" {"repositoryName": "acme-shop", "imageIds": [{"imageTag": "v1"}]},
            "BatchGetImage" {"repositoryName": "acme-shop", "imageIds": [{"imageTag": "v1"}]},
            "PutImage" {"repositoryName": "none", "imageTag": "v1", "imageManifest": "{}"},
            "GetAuthorizationToken" {},
        };
        ask(side, questions).await
    };
    let why = "moto fails on a missing repository; AWS has RepositoryNotFoundException";
    let docs = "https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html";
    let gaps = ["15:PutImage code", "15:PutImage status"].map(|at| Gap { at, why, docs });
    Pair::start().await.agree(ecr, &gaps).await;
}

#[tokio::test]
async fn conformity__rule_calls() {
    let rules = async |side: &Side| {
        let pattern = r#"{"source":["aws.ecr"]}"#;
        let bus = "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda";
        let role = "arn:aws:iam::210987654321:role/panda-events";
        let questions = questions! { "AWSEvents", User:
            "DescribeRule" {"Name": "shop"},
            "ListTargetsByRule" {"Rule": "shop"},
            "PutTargets" {"Rule": "shop", "Targets": [{"Id": "panda", "Arn": bus, "RoleArn": role}]},
            "PutRule" {"Name": "shop", "EventPattern": pattern, "Description": "one"},
            "DescribeRule" {"Name": "shop"},
            "ListTargetsByRule" {"Rule": "shop"},
            "PutTargets" {"Rule": "shop", "Targets": [{"Id": "panda", "Arn": bus, "RoleArn": role}]},
            "PutTargets" {"Rule": "shop", "Targets": [{"Id": "panda", "Arn": bus, "RoleArn": role}]},
            "PutRule" {"Name": "shop", "EventPattern": pattern, "State": "DISABLED", "Description": "two"},
            "DescribeRule" {"Name": "shop"},
            "ListTargetsByRule" {"Rule": "shop"},
            "PutRule" {"Name": "x", "EventPattern": "[]"},
            "PutRule" {"Name": "x", "EventPattern": "{\"source\":\"aws.ecr\"}"},
            "PutRule" {"Name": "x"},
            "PutRule" {"Name": "x", "EventPattern": pattern, "EventBusName": "elsewhere"},
            "DescribeEventBus" {},
            "DescribeEventBus" {"Name": "panda"},
        };
        ask(side, questions).await
    };
    let why = "moto has its own exception for a JSON pattern that is no object; AWS has InvalidEventPatternException";
    let docs = "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html";
    Pair::start().await.agree(rules, &[Gap { at: "12:PutRule *", why, docs }]).await;
}

#[tokio::test]
async fn conformity__bus_policy_calls() {
    let policy = async |side: &Side| {
        let questions = questions! { "AWSEvents", Controller:
            "DescribeEventBus" {"Name": "panda"},
            "PutPermission" {"EventBusName": "panda", "Action": "events:PutEvents", "Principal": "210987654321", "StatementId": "one"},
            "DescribeEventBus" {"Name": "panda"},
            "PutPermission" {"EventBusName": "panda", "Action": "events:PutEvents", "Principal": "111111111111", "StatementId": "two"},
            "DescribeEventBus" {"Name": "panda"},
            "PutPermission" {"EventBusName": "panda", "Action": "events:PutRule", "Principal": "111111111111", "StatementId": "three"},
            "RemovePermission" {"EventBusName": "panda", "StatementId": "one"},
            "RemovePermission" {"EventBusName": "panda", "StatementId": "one"},
            "DescribeEventBus" {"Name": "panda"},
            "PutPermission" {"EventBusName": "none", "Action": "events:PutEvents", "Principal": "111111111111", "StatementId": "x"},
        };
        ask(side, questions).await
    };
    Pair::start().await.agree(policy, &[]).await;
}

#[tokio::test]
async fn conformity__secret_calls() {
    let secrets = async |side: &Side| {
        let questions = questions! { "secretsmanager", Controller:
            "GetSecretValue" {"SecretId": "panda/none"},
            "DescribeSecret" {"SecretId": "panda/none"},
            "PutSecretValue" {"SecretId": "panda/none", "SecretString": "x"},
            "CreateSecret" {"Name": "panda/a"},
            "DescribeSecret" {"SecretId": "panda/a"},
            "GetSecretValue" {"SecretId": "panda/a"},
            "PutSecretValue" {"SecretId": "panda/a", "SecretString": "first"},
            "CreateSecret" {"Name": "panda/a", "SecretString": "x"},
            "PutSecretValue" {"SecretId": "panda/a", "SecretString": "second"},
            "GetSecretValue" {"SecretId": "panda/a"},
        };
        ask(side, questions).await
    };
    let why = "moto says 404; AWS documents 400 for every error of a caller of Secrets Manager";
    let at =
        ["1:GetSecretValue status", "2:DescribeSecret status", "3:PutSecretValue status", "6:GetSecretValue status"];
    let docs = "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html";
    Pair::start().await.agree(secrets, &at.map(|at| Gap { at, why, docs })).await;
}

#[tokio::test]
async fn conformity__missing_execution_calls() {
    let executions = async |side: &Side| {
        let questions = questions! { "AWSStepFunctions", Controller:
            "DescribeExecution" {"executionArn": EXECUTION},
            "GetExecutionHistory" {"executionArn": EXECUTION},
            "StopExecution" {"executionArn": EXECUTION},
            "DescribeExecution" {"executionArn": "nonsense"},
            "ListExecutions" {"stateMachineArn": MACHINE},
        };
        ask(side, questions).await
    };
    Pair::start().await.agree(executions, &[]).await;
}

#[tokio::test]
async fn conformity__missing_deployment_calls() {
    let deployments = async |side: &Side| {
        let questions = questions! { "CodeDeploy_20141006", User:
            "GetDeployment" {"deploymentId": "d-ABCDEFGHI"},
            "GetDeployment" {},
            "ContinueDeployment" {"deploymentId": "d-ABCDEFGHI", "deploymentWaitType": "READY_WAIT"},
            "StopDeployment" {"deploymentId": "d-ABCDEFGHI"},
            "ListDeploymentTargets" {"deploymentId": "d-ABCDEFGHI"},
            "BatchGetDeploymentTargets" {"deploymentId": "d-ABCDEFGHI", "targetIds": ["x"]},
            "BatchGetDeployments" {"deploymentIds": ["d-ABCDEFGHI"]},
            "GetDeploymentConfig" {"deploymentConfigName": "none"},
            "ListDeployments" {},
            "ListDeployments" {"applicationName": "none"},
            "ListDeployments" {"deploymentGroupName": "none"},
        };
        ask(side, questions).await
    };
    let why = "moto lacks this call";
    let docs = "https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_Operations.html";
    let lacking = [
        "3:Continue*",
        "4:Stop*",
        "5:ListDeploymentTargets*",
        "6:BatchGetDeploymentTargets*",
        "8:GetDeploymentConfig*",
    ];
    let mut gaps: Vec<Gap> = lacking.map(|at| Gap { at, why, docs }).into();
    let why = "moto looks up a deployment without id; AWS has DeploymentIdRequiredException";
    let docs = "https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_GetDeployment.html";
    gaps.push(Gap { at: "2:GetDeployment code", why, docs });
    Pair::start().await.agree(deployments, &gaps).await;
}
