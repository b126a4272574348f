//! The client of load balancers against moto: shapes of listeners that the sandbox does not have.

use aws_config::SdkConfig;
use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, LoadBalancerTypeEnum, ProtocolEnum,
    RuleCondition, TargetDescription, TargetGroupTuple, TargetTypeEnum,
};
use panda::clients::ErrorKind;
use panda::clients::aws::UserAws;
use panda::domain::connection::{AwsCredentials, AwsKeys};
use panda::domain::listener_guard::{
    ListenerConflict, RouteAction, TargetPair, check_routes, check_targets, group_name,
};
use panda_testing::moto::server::Moto;
use pretty_assertions::assert_eq;
use secrecy::SecretString;
use std::time::Duration;

use crate::support::environment;

const REGION: &str = "ap-northeast-2";

/// moto with a client that makes load balancers, and Panda's client.
struct Balancers {
    moto: Moto,
    client: Client,
    user: UserAws,
}

fn keys() -> AwsKeys {
    AwsKeys {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: SecretString::from("secret"),
        session_token: None,
    }
}

async fn start() -> Balancers {
    let moto = Moto::start().await;
    let config: SdkConfig = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(REGION))
        .endpoint_url(moto.url().as_str().trim_end_matches('/'))
        .credentials_provider(aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .load()
        .await;
    let client = Client::new(&config);
    let aws = environment::aws(Some(moto.url().clone()), Some(REGION), keys(), Duration::from_secs(30), &[]).await;
    let user = aws.user("moto", REGION, &AwsCredentials::Keys(keys()));
    Balancers { moto, client, user }
}

impl Balancers {
    /// Ids in the answer of a call to EC2, which has a default network.
    async fn ec2(&self, action: &str, element: &str) -> Vec<String> {
        let form = [("Action", action), ("Version", "2016-11-15")];
        let credential = format!("AKIDEXAMPLE/20260101/{REGION}/ec2/aws4_request");
        let signed = format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0");
        let body: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = reqwest::Client::new().post(self.moto.url().clone()).header("authorization", signed);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let text = request.send().await.unwrap().text().await.unwrap();
        let open = format!("<{element}>");
        text.split(&open).skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }

    async fn balancer(&self, name: &str, kind: LoadBalancerTypeEnum) -> String {
        let subnets = self.ec2("DescribeSubnets", "subnetId").await;
        let call = self.client.create_load_balancer().name(name).r#type(kind);
        let made = call.subnets(&subnets[0]).subnets(&subnets[1]).send().await.unwrap();
        made.load_balancers()[0].load_balancer_arn().unwrap().to_owned()
    }

    async fn group(&self, name: &str, protocol: ProtocolEnum) -> String {
        let vpc = self.ec2("DescribeVpcs", "vpcId").await.remove(0);
        let call = self.client.create_target_group().name(name).protocol(protocol).port(80).vpc_id(vpc);
        let made = call.target_type(TargetTypeEnum::Ip).send().await.unwrap();
        made.target_groups()[0].target_group_arn().unwrap().to_owned()
    }

    async fn listener(&self, balancer: &str, protocol: ProtocolEnum, action: Action) -> String {
        let call = self.client.create_listener().load_balancer_arn(balancer).protocol(protocol).port(80);
        let made = call.default_actions(action).send().await.unwrap();
        made.listeners()[0].listener_arn().unwrap().to_owned()
    }

    async fn rule(&self, listener: &str, priority: i32, action: Action) {
        let condition = RuleCondition::builder().field("path-pattern").values(format!("/{priority}/*")).build();
        let call = self.client.create_rule().listener_arn(listener).priority(priority).conditions(condition);
        call.actions(action).send().await.unwrap();
    }
}

fn weighted(groups: &[(&str, i32)]) -> Action {
    let mut config = ForwardActionConfig::builder();
    for (arn, weight) in groups {
        config = config.target_groups(TargetGroupTuple::builder().target_group_arn(*arn).weight(*weight).build());
    }
    Action::builder().r#type(ActionTypeEnum::Forward).order(1).forward_config(config.build()).build()
}

fn fixed() -> Action {
    let response = FixedResponseActionConfig::builder().status_code("503").content_type("text/plain").build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(response).build()
}

fn forward(arn: &str) -> Action {
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(arn).build()
}

fn to(groups: &[(&str, u32)]) -> RouteAction {
    RouteAction::forward(groups.iter().map(|(name, weight)| ((*name).to_owned(), *weight)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers__routes_of_listeners_in_moto() {
    let parts = start().await;
    let (blue, green) =
        (parts.group("shop-1", ProtocolEnum::Http).await, parts.group("shop-2", ProtocolEnum::Http).await);
    let application = parts.balancer("shop", LoadBalancerTypeEnum::Application).await;
    let listener = parts.listener(&application, ProtocolEnum::Http, weighted(&[(&blue, 100), (&green, 0)])).await;
    let client = &parts.user.load_balancers;
    let before = client.routes(&listener).await.unwrap();
    assert_eq!(before.iter().map(|route| route.sends.clone()).collect::<Vec<_>>(), [to(&[("shop-1", 1)])]);
    let pair = TargetPair { blue: "shop-1".to_owned(), green: "shop-2".to_owned() };
    assert_eq!(check_routes(&pair, &before, Some(&before)), Ok(()));

    parts.rule(&listener, 1, fixed()).await;
    parts.rule(&listener, 2, weighted(&[(&blue, 90), (&green, 10)])).await;
    let mut now = client.routes(&listener).await.unwrap();
    now.sort_by_key(|route| format!("{:?}", route.sends));
    let sends: Vec<_> = now.iter().map(|route| route.sends.clone()).collect();
    let expected =
        [to(&[("shop-1", 1)]), to(&[("shop-1", 9), ("shop-2", 1)]), RouteAction::Other("fixed-response".to_owned())];
    assert_eq!(sends, expected);
    let conflict = check_routes(&pair, &now, Some(&before)).unwrap_err();
    assert!(
        matches!(&conflict, ListenerConflict::NotOnBlue { route, .. } if route.contains(":listener-rule/")),
        "{conflict:?}"
    );
    let rule = now[1].arn.clone();
    let alone = client.routes(&rule).await.unwrap();
    assert_eq!(
        alone.iter().map(|route| (route.arn.as_str(), &route.sends)).collect::<Vec<_>>(),
        [(rule.as_str(), &expected[1])]
    );

    let network = parts.balancer("shop-net", LoadBalancerTypeEnum::Network).await;
    let tcp = parts.group("shop-tcp", ProtocolEnum::Tcp).await;
    let listener = parts.listener(&network, ProtocolEnum::Tcp, forward(&tcp)).await;
    // moto names every listener as one of an application; AWS has no rules for those of a network.
    let routes = client.routes(&listener).await.unwrap();
    assert_eq!(routes.iter().map(|route| &route.sends).collect::<Vec<_>>(), [&to(&[("shop-tcp", 1)])]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers__targets_and_absent_parts_in_moto() {
    let parts = start().await;
    let green = parts.group("shop-2", ProtocolEnum::Http).await;
    let client = &parts.user.load_balancers;
    assert_eq!(client.target_group("shop-2").await.unwrap(), green);
    assert_eq!(group_name(&green), "shop-2");
    let none = client.target_health(&green).await.unwrap();
    assert_eq!(check_targets("shop-2", &none), Err(ListenerConflict::NoTargets { group: "shop-2".to_owned() }));
    let target = TargetDescription::builder().id("172.31.0.9").port(8080).build();
    parts.client.register_targets().target_group_arn(&green).targets(target).send().await.unwrap();
    let targets = client.target_health(&green).await.unwrap();
    assert_eq!((targets.len(), targets[0].target.as_str()), (1, "172.31.0.9:8080"));

    for (call, error) in [
        ("group", client.target_group("none").await.unwrap_err()),
        ("health", client.target_health(&green.replace("shop-2", "none")).await.unwrap_err()),
        (
            "listener",
            client.routes("arn:aws:elasticloadbalancing:ap-northeast-2:1:listener/app/none/1/2").await.unwrap_err(),
        ),
        (
            "network",
            client.routes("arn:aws:elasticloadbalancing:ap-northeast-2:1:listener/net/none/1/2").await.unwrap_err(),
        ),
        (
            "rule",
            client
                .routes("arn:aws:elasticloadbalancing:ap-northeast-2:1:listener-rule/app/none/1/2/3")
                .await
                .unwrap_err(),
        ),
    ] {
        assert_eq!(error.kind, ErrorKind::NotFound, "{call}: {error}");
    }
}
