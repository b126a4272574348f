//! The published state machine, aws/state-machine.asl.json, executed by moto after a push of Panda, which follows that execution.

use aws_sdk_sfn as sfn;
use axum::Router;
use axum::routing::get;
use panda_testing::http::serve;
use panda_testing::moto::pipeline::Pipeline;
use panda_testing::moto::server::Moto;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use url::Url;

use super::Cloud;
use crate::aws::definition;
use crate::cli::{panda as cli, run};
use crate::reconcile::{UNTIL_PUSHED, codes, deploy, events, status};
use crate::support::environment::hello;
use crate::support::panda::{Panda, Server};

/// The user's account, as aws/cloudformation/user-service.yaml and CodeDeploy would have made it.
struct Service<'a> {
    cloud: &'a Cloud,
    name: String,
    client: reqwest::Client,
}

impl Service<'_> {
    /// Calls moto in the user's account.
    async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let sandbox = &self.cloud.env.sandbox;
        let key = &sandbox.user_credentials().access_key_id;
        let scope = format!("{key}/20260101/{}/{service}/aws4_request", sandbox.region());
        let request = self
            .client
            .post(self.cloud.proxy.url().clone())
            .header("x-amz-target", target)
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"))
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let (ok, text) = (answer.status().is_success(), answer.text().await.unwrap());
        assert!(ok, "{target}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn ecs(&self, operation: &str, body: Value) -> Value {
        self.call("ecs", &format!("AmazonEC2ContainerServiceV20141113.{operation}"), &body).await
    }

    async fn code_deploy(&self, operation: &str, body: Value) -> Value {
        self.call("codedeploy", &format!("CodeDeploy_20141006.{operation}"), &body).await
    }

    fn target_group(&self, color: &str) -> String {
        let account = self.cloud.env.sandbox.user_account_id();
        format!("arn:aws:elasticloadbalancing:ap-northeast-2:{account}:targetgroup/panda-{color}/0123456789abcdef")
    }

    /// Creates cluster and first task definition.
    async fn create_cluster(&self) {
        let (name, role) = (&self.name, "arn:aws:iam::210987654321:role/tasks");
        self.ecs("CreateCluster", json!({"clusterName": name})).await;
        let task = json!({
            "family": name, "taskRoleArn": role, "executionRoleArn": role, "networkMode": "awsvpc", "cpu": "256",
            "memory": "512", "requiresCompatibilities": ["FARGATE"],
            "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
            "containerDefinitions": [
                {"name": "app", "image": "first", "portMappings": [{"containerPort": 8080}],
                 "environment": [{"name": "TOKEN", "value": "of-the-task"}]},
                {"name": "sidecar", "image": "sidecar:1"},
            ],
        });
        self.ecs("RegisterTaskDefinition", task).await;
    }

    fn tags(blue: &Url, green: &Url) -> Value {
        json!([{"key": "panda:blue-url", "value": blue.as_str()}, {"key": "panda:green-url", "value": green.as_str()}])
    }

    /// Creates cluster, and a service that shifts its traffic itself.
    async fn create_native(&self, blue: &Url, green: &Url) {
        self.create_cluster().await;
        let advanced =
            json!({"alternateTargetGroupArn": self.target_group("green"), "productionListenerRule": "arn:rule"});
        let balancer = json!({
            "targetGroupArn": self.target_group("blue"), "containerName": "app", "containerPort": 8080, "advancedConfiguration": advanced,
        });
        let service = json!({
            "cluster": self.name, "serviceName": self.name, "taskDefinition": self.name, "desiredCount": 1, "tags": Self::tags(blue, green),
            "deploymentController": {"type": "ECS"}, "loadBalancers": [balancer],
        });
        self.ecs("CreateService", service).await;
    }

    /// Creates cluster, service with its first task definition, and CodeDeploy's application and group.
    async fn create(&self, blue: &Url, green: &Url) {
        self.create_cluster().await;
        let (name, role) = (&self.name, "arn:aws:iam::210987654321:role/tasks");
        let balancer = |color: &str| json!([{"targetGroupArn": self.target_group(color), "containerName": "app", "containerPort": 8080}]);
        let tags = Self::tags(blue, green);
        let service = json!({
            "cluster": name, "serviceName": name, "taskDefinition": name, "desiredCount": 1, "tags": tags,
            "deploymentController": {"type": "CODE_DEPLOY"}, "loadBalancers": balancer("blue"),
        });
        self.ecs("CreateService", service).await;
        for color in ["blue", "green"] {
            let set =
                json!({"cluster": name, "service": name, "taskDefinition": name, "loadBalancers": balancer(color)});
            let made = self.ecs("CreateTaskSet", set).await;
            if color == "blue" {
                let arn = &made["taskSet"]["taskSetArn"];
                let primary = json!({"cluster": name, "service": name, "primaryTaskSet": arn});
                self.ecs("UpdateServicePrimaryTaskSet", primary).await;
            }
        }
        self.code_deploy("CreateApplication", json!({"applicationName": name, "computePlatform": "ECS"})).await;
        let ready = json!({"actionOnTimeout": "STOP_DEPLOYMENT", "waitTimeInMinutes": 60});
        let group = json!({
            "applicationName": name, "deploymentGroupName": name, "serviceRoleArn": role,
            "blueGreenDeploymentConfiguration": {"deploymentReadyOption": ready},
        });
        self.code_deploy("CreateDeploymentGroup", group).await;
    }
}

/// The push event, with the account, which moto leaves out of an event that a rule sends on to another bus.
async fn pushed(cloud: &Cloud, pipeline: &Pipeline) -> Value {
    let mut event = pipeline.pushed().await;
    event["account"] = json!(cloud.env.sandbox.user_account_id());
    event
}

/// What `GET /api/v1/pipeline/check` says of an execution.
async fn checked(panda: &Server, arn: &str) -> Value {
    let (status, answer) = panda.get(&format!("/pipeline/check?lang=en&executionArn={arn}")).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

/// The output of the last exit of a state.
async fn output(cloud: &Cloud, arn: &str, state: &str) -> String {
    let history =
        sfn::Client::new(&cloud.controller()).get_execution_history().execution_arn(arn).send().await.unwrap();
    let exits = history.events.into_iter().filter_map(|event| event.state_exited_event_details);
    exits.filter(|exit| exit.name == state).filter_map(|exit| exit.output).next_back().unwrap()
}

/// `panda pipeline check` shows the same, as a table and as JSON.
async fn command_line(panda: &Server, execution: &str) {
    let args = ["--lang", "en", "pipeline", "check", execution, "--server", &panda.base];
    let ended = run(&mut cli(&args)).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("targetGroups") && ended.stdout.contains("clauses: 13, broken: 0"),
        "{}",
        ended.stdout
    );
    let ended = run(&mut cli(&[&args[..], &["--json"]].concat())).await;
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap()["broken"], 0);
}

/// The check before the next deployment finds in moto what this one left there.
async fn check_of_next(panda: &Server) {
    let (_, listed) = panda.get("/connections").await;
    let id = |kind: &str| listed["data"][kind][0]["connectionId"].as_str().unwrap().to_owned();
    let path = format!("/connect/aws/{}/check?githubConnectionId={}", id("aws"), id("github"));
    let (status, answer) = panda.post(&path, &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let items = answer["data"]["items"].as_array().unwrap();
    for id in ["credentials", "eventBus", "busPolicy", "eventRule", "eventTarget", "ecrRepository", "latestExecution"] {
        let item = items.iter().find(|item| item["id"] == id).unwrap();
        assert_eq!(item["state"], "present", "{item:#}");
    }
    let group = items.iter().find(|item| item["id"] == "deploymentGroup").unwrap();
    assert_eq!(group["state"], "present", "{group:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_pipeline__followed_until_ready() {
    let cloud = Cloud::of(Moto::with_sdk_integrations().await, hello("4.1.0"), false).await;
    let env = &cloud.env;
    let service =
        Service { cloud: &cloud, name: format!("panda-{}", env.ecr_repository()), client: reqwest::Client::new() };
    let (served, _serving) = serve(Router::new().route("/health", get(async || "4.1.0"))).await;
    let (blue, green) = (served.join("/blue").unwrap(), served.clone());
    service.create(&blue, &green).await;
    let pipeline = cloud.pipeline(|_| definition()).await;
    // CodeDeploy is moto's too: the sandbox does not know this deployment.
    let aws = format!("--aws-endpoint={}", cloud.proxy.url());
    let panda = Panda::builder().environment(env).flags(&[&aws, "--execution-wait-ms=60000"]).server().await;
    let id = deploy(env, "main").await;

    let event = pushed(&cloud, &pipeline).await;
    // The state machine writes the secret itself.
    let execution = pipeline.execute(&event).await;
    let ready = status(env, &id, &["DEPLOYMENT_READY"]).await;
    assert_eq!(ready.facts.execution_arn.as_deref(), Some(execution.as_str()));
    assert_eq!(ready.facts.cluster_name.as_deref(), Some(service.name.as_str()));
    assert_eq!(ready.facts.blue_url.as_deref(), Some(blue.as_str()));
    assert_eq!(ready.facts.green_url.as_deref(), Some(green.as_str()));
    assert_eq!(ready.facts.blue_target_group_arn, Some(service.target_group("blue")));
    assert_eq!(ready.facts.green_target_group_arn, Some(service.target_group("green")));
    let mut expected = UNTIL_PUSHED.to_vec();
    expected.extend(["infra_started", "infra_completed", "blue_green_started", "blue_running", "green_ready"]);
    expected.extend(["blue_green_in_progress", "awaiting_switch", "ready"]);
    assert_eq!(codes(&events(env, &id).await), expected);

    // The next revision has the pushed image, by digest, and the other container as it was.
    let found = service.ecs("DescribeTaskDefinition", json!({"taskDefinition": service.name})).await;
    let containers = &found["taskDefinition"]["containerDefinitions"];
    let image = containers[0]["image"].as_str().unwrap();
    assert!(image.ends_with(&format!("/{}@{}", env.ecr_repository(), ready.facts.image_digest.unwrap())), "{image}");
    assert_eq!((&containers[1]["image"], &found["taskDefinition"]["revision"]), (&json!("sidecar:1"), &json!(2)));
    let deployment = ready.facts.code_deploy_deployment_id.unwrap();
    let found = service.code_deploy("GetDeployment", json!({"deploymentId": deployment})).await;
    let revision = &found["deploymentInfo"]["revision"]["appSpecContent"]["content"];
    assert!(revision.as_str().unwrap().contains(&format!("task-definition/{}:2", service.name)), "{revision}");

    let check = checked(&panda, &execution).await;
    let clauses = check["clauses"].as_array().unwrap();
    assert!(clauses.len() == 13 && clauses.iter().all(|clause| clause["state"] == "kept"), "{check:#}");
    let mut values = json!({"input": event, "secret": execution});
    for (state, path) in [("EnsureInfra", "/infra"), ("RegisterTaskAndDeploy", "/deploy"), ("CheckDeployment", "")] {
        let text = output(&cloud, &execution, state).await;
        assert!(!text.contains("of-the-task"), "{state} shows the environment of the task definition");
        values[state] = serde_json::from_str::<Value>(&text).unwrap().pointer(path).unwrap().clone();
    }
    crate::aws::valid(&values);
    command_line(&panda, &execution).await;
    check_of_next(&panda).await;
    panda.stop().await;
}

/// The service's own controller is ECS: it is updated with the image, and CodeDeploy is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_pipeline__service_of_ecs_followed_until_ready() {
    let cloud = Cloud::of(Moto::with_sdk_integrations().await, hello("4.3.0"), false).await;
    let env = &cloud.env;
    let service =
        Service { cloud: &cloud, name: format!("panda-{}", env.ecr_repository()), client: reqwest::Client::new() };
    let (served, _serving) = serve(Router::new().route("/health", get(async || "4.3.0"))).await;
    let (blue, green) = (served.join("/blue").unwrap(), served.clone());
    service.create_native(&blue, &green).await;
    let pipeline = cloud.pipeline(|_| definition()).await;
    let aws = format!("--aws-endpoint={}", cloud.proxy.url());
    let panda = Panda::builder().environment(env).flags(&[&aws, "--execution-wait-ms=60000"]).server().await;
    let id = deploy(env, "main").await;

    let event = pushed(&cloud, &pipeline).await;
    let execution = pipeline.execute(&event).await;
    let ready = status(env, &id, &["DEPLOYMENT_READY"]).await;
    let arn = ready.facts.service_deployment_arn.unwrap();
    assert!(arn.contains(&format!(":service-deployment/{0}/{0}/", service.name)), "{arn}");
    assert_eq!(ready.facts.code_deploy_deployment_id, None);
    assert_eq!(ready.facts.blue_target_group_arn, Some(service.target_group("blue")));
    assert_eq!(ready.facts.green_target_group_arn, Some(service.target_group("green")));
    let found = service.ecs("DescribeTaskDefinition", json!({"taskDefinition": service.name})).await;
    let image = found["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap();
    assert!(image.ends_with(&ready.facts.image_digest.unwrap()), "{image}");
    let services = json!({"cluster": service.name, "services": [service.name]});
    let found = service.ecs("DescribeServices", services).await;
    let updated = found["services"][0]["taskDefinition"].as_str().unwrap();
    assert!(updated.ends_with(":2"), "UpdateService: {updated}");

    let check = checked(&panda, &execution).await;
    let clauses = check["clauses"].as_array().unwrap();
    assert!(clauses.iter().all(|clause| clause["state"] == "kept"), "{check:#}");
    let mut values = json!({"input": event, "secret": execution});
    for (state, path) in [("EnsureInfra", "/infra"), ("RegisterTaskAndDeploy", "/deploy"), ("CheckDeployment", "")] {
        let text = output(&cloud, &execution, state).await;
        assert!(!text.contains("of-the-task"), "{state} shows the environment of the task definition");
        values[state] = serde_json::from_str::<Value>(&text).unwrap().pointer(path).unwrap().clone();
    }
    crate::aws::valid(&values);
    panda.stop().await;
}

/// Each clause has its own message: here, nothing was created for the repository but the cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_pipeline__missing_service_named() {
    let cloud = Cloud::of(Moto::with_sdk_integrations().await, hello("4.2.0"), false).await;
    let env = &cloud.env;
    let service =
        Service { cloud: &cloud, name: format!("panda-{}", env.ecr_repository()), client: reqwest::Client::new() };
    service.ecs("CreateCluster", json!({"clusterName": service.name})).await;
    let pipeline = cloud.pipeline(|_| definition()).await;
    let aws = format!("--aws-endpoint={}", cloud.proxy.url());
    let panda = Panda::builder().environment(env).flags(&[&aws, "--execution-wait-ms=60000"]).server().await;
    let id = deploy(env, "main").await;

    let event = pushed(&cloud, &pipeline).await;
    pipeline.execute(&event).await;
    let failed = status(env, &id, &["FAILED"]).await;
    let message = failed.error_message.unwrap();
    assert!(message.contains("Panda.ServiceMissing") && message.contains("aws/terraform/user-service"), "{message}");
    panda.stop().await;
}
