//! Each service's calls and errors, as the SDK understands them.

use aws_config::SdkConfig;
use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use aws_sdk_ecr::types::{ImageIdentifier, Tag};
use aws_sdk_eventbridge as eventbridge;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_secretsmanager as secretsmanager;
use aws_sdk_sts as sts;
use base64::Engine as _;
use panda_sandbox::SandboxCredentials;
use pretty_assertions::assert_eq;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::harness::{App, Harness, config};

#[tokio::test]
async fn wire__access_key_selects_account() {
    let harness = Harness::start().await;
    for (credentials, account) in [
        (harness.sandbox.user_credentials(), harness.sandbox.user_account_id()),
        (harness.sandbox.controller_credentials(), harness.sandbox.controller_account_id()),
    ] {
        let identity = sts::Client::new(&harness.config(credentials)).get_caller_identity().send().await.unwrap();
        assert_eq!(identity.account(), Some(account));
        assert!(identity.arn().unwrap().contains(account));
    }
    harness.end().await;
}

#[tokio::test]
async fn wire__assumed_role_acts_for_its_account() {
    let harness = Harness::start().await;
    let client = sts::Client::new(&harness.controller());
    let role = format!("arn:aws:iam::{}:role/team/deploy", harness.sandbox.user_account_id());
    harness.sandbox.put_role_for(&role, "right");
    let request = client.assume_role().role_arn(&role).role_session_name("panda");
    for wrong in [None, Some("wrong"), Some("RIGHT"), Some("right2")] {
        let refused = request.clone().set_external_id(wrong.map(str::to_owned)).send().await.unwrap_err();
        assert_eq!(refused.into_service_error().code(), Some("AccessDenied"), "{wrong:?}");
    }
    for malformed in ["", "x", "has space"] {
        let refused = request.clone().external_id(malformed).send().await.unwrap_err();
        assert_eq!(refused.into_service_error().code(), Some("ValidationError"), "{malformed:?}");
    }
    let strangers = sts::Client::new(&harness.user()).assume_role().role_arn(&role).role_session_name("panda");
    let refused = strangers.external_id("right").send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("AccessDenied"), "the role trusts the controller's account");
    let answer = request.external_id("right").send().await.unwrap();
    let keys = answer.credentials().unwrap();
    let assumed = sts::config::Credentials::new(
        &keys.access_key_id,
        &keys.secret_access_key,
        Some(keys.session_token.clone()),
        None,
        "test",
    );
    let provider = sts::config::SharedCredentialsProvider::new(assumed);
    let config: SdkConfig = harness.controller().into_builder().credentials_provider(provider).build();
    let identity = sts::Client::new(&config).get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some(harness.sandbox.user_account_id()));
    assert!(identity.arn().unwrap().ends_with(":assumed-role/deploy/panda"));

    let foreign = client
        .assume_role()
        .role_arn("arn:aws:iam::999999999999:role/x")
        .role_session_name("panda")
        .send()
        .await
        .unwrap_err();
    assert_eq!(foreign.into_service_error().code(), Some("AccessDenied"));
    harness.end().await;
}

#[tokio::test]
async fn wire__expired_session_refused_per_protocol() {
    let harness = Harness::start().await;
    let (keys, token) = harness.sandbox.user_session("deployer", "monday");
    let session = sts::config::Credentials::new(
        &keys.access_key_id,
        keys.secret_access_key.expose_secret(),
        Some(token.expose_secret().to_owned()),
        None,
        "test",
    );
    let provider = sts::config::SharedCredentialsProvider::new(session);
    let config: SdkConfig = harness.user().into_builder().credentials_provider(provider).build();
    let (sts, ecr) = (sts::Client::new(&config), aws_sdk_ecr::Client::new(&config));
    sts.get_caller_identity().send().await.unwrap();
    harness.sandbox.expire_session(&keys);
    let error = sts.get_caller_identity().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("ExpiredToken"));
    let error = ecr.describe_repositories().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("ExpiredTokenException"));
    harness.end().await;
}

#[tokio::test]
async fn wire__unknown_key_and_region_refused_per_protocol() {
    let harness = Harness::start().await;
    let unknown = SandboxCredentials {
        access_key_id: "AKIAUNKNOWN000000000".to_owned(),
        ..harness.sandbox.user_credentials().clone()
    };
    let stranger = harness.config(&unknown);
    let error = sts::Client::new(&stranger).get_caller_identity().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("InvalidClientTokenId"));
    let error = aws_sdk_ecr::Client::new(&stranger).describe_repositories().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("UnrecognizedClientException"));
    let elsewhere = config(harness.sandbox.endpoint().as_str(), "us-east-1", harness.sandbox.user_credentials());
    let error = sts::Client::new(&elsewhere).get_caller_identity().send().await.unwrap_err();
    assert_eq!(error.into_service_error().code(), Some("SignatureDoesNotMatch"));
    harness.end().await;
}

#[tokio::test]
async fn wire__unsupported_call_reported() {
    let harness = Harness::start().await;
    let error = harness.ecr().describe_registry().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    let error = harness.codedeploy().list_applications().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    let error = sts::Client::new(&harness.user()).get_session_token().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("InvalidAction"));
    harness.end().await;
}

#[tokio::test]
async fn wire__ecr_keeps_repository_tags_and_manifests() {
    let mut harness = Harness::start().await;
    let client = harness.ecr();
    let tag = Tag::builder().key("panda:repository").value("acme/hello").build().unwrap();
    let created =
        client.create_repository().repository_name("acme-hello").tags(tag).send().await.unwrap().repository.unwrap();
    let arn = created.repository_arn().unwrap();
    assert!(created.repository_uri().unwrap().ends_with("/acme-hello"));
    let again = client.create_repository().repository_name("acme-hello").send().await.unwrap_err().into_service_error();
    assert!(again.is_repository_already_exists_exception());
    let upper = client.create_repository().repository_name("Acme").send().await.unwrap_err().into_service_error();
    assert!(upper.is_invalid_parameter_exception());
    let found = client.describe_repositories().repository_names("acme-hello").send().await.unwrap();
    assert_eq!(found.repositories()[0].repository_arn(), Some(arn));
    let missing =
        client.describe_repositories().repository_names("nobody").send().await.unwrap_err().into_service_error();
    assert!(missing.is_repository_not_found_exception());
    let tags = client.list_tags_for_resource().resource_arn(arn).send().await.unwrap();
    assert_eq!(tags.tags()[0].value(), "acme/hello");

    let token = client.get_authorization_token().send().await.unwrap();
    let data = &token.authorization_data()[0];
    let decoded = base64::engine::general_purpose::STANDARD.decode(data.authorization_token().unwrap()).unwrap();
    assert!(decoded.starts_with(b"AWS:"));
    assert!(data.expires_at().unwrap().secs() > chrono::Utc::now().timestamp());
    assert_eq!(
        data.proxy_endpoint().unwrap(),
        format!("http://{}", created.repository_uri().unwrap().split('/').next().unwrap())
    );

    let image = |tag: &str| ImageIdentifier::builder().image_tag(tag).build();
    let absent =
        client.describe_images().repository_name("acme-hello").image_ids(image("none")).send().await.unwrap_err();
    assert!(absent.into_service_error().is_image_not_found_exception());
    let digest = harness.push("acme-hello", App::Hello("v1")).await;
    crate::support::wait_for("the push is reported", async || {
        harness.sandbox.effects("acme-hello").pushes.contains_key(&digest)
    })
    .await;
    let by_digest = ImageIdentifier::builder().image_digest(&digest).build();
    let both = client.batch_get_image().repository_name("acme-hello").image_ids(by_digest).image_ids(image("none"));
    let answer = both.send().await.unwrap();
    let manifest: Value = serde_json::from_str(answer.images()[0].image_manifest().unwrap()).unwrap();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(answer.failures()[0].failure_code().unwrap().as_str(), "ImageNotFound");
    harness.end().await;
}

#[tokio::test]
async fn wire__put_rule_again_keeps_targets() {
    let harness = Harness::start().await;
    let client = harness.events();
    harness.put_rule("rule", "one").await;
    harness.put_target("rule").await;
    harness.put_rule("rule", "two").await;
    let rule = client.describe_rule().name("rule").send().await.unwrap();
    assert!(rule.event_pattern().unwrap().contains("two"));
    assert!(rule.arn().unwrap().ends_with(&format!("{}:rule/rule", harness.sandbox.user_account_id())));
    let targets = client.list_targets_by_rule().rule("rule").send().await.unwrap();
    assert_eq!(targets.targets()[0].arn(), harness.sandbox.bus_arn());

    let missing = client.describe_rule().name("none").send().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception());
    let target = Target::builder().id("panda").arn(harness.sandbox.bus_arn()).build().unwrap();
    let missing = client.put_targets().rule("none").targets(target).send().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception());
    let filter =
        client.put_rule().name("rule").event_pattern(r#"{"source": [{"prefix": "aws"}]}"#).send().await.unwrap_err();
    assert!(filter.into_service_error().is_invalid_event_pattern_exception());
    harness.end().await;
}

#[tokio::test]
async fn wire__bus_of_another_account_or_region_needs_role() {
    let harness = Harness::start().await;
    let client = harness.events();
    harness.put_rule("rule", "one").await;
    let put = async |arn: &str, role: Option<&str>| {
        let target = Target::builder().id("panda").arn(arn).set_role_arn(role.map(str::to_owned)).build().unwrap();
        let sent = client.put_targets().rule("rule").targets(target).send().await;
        sent.map(drop).map_err(|error| {
            let error = error.into_service_error();
            format!("{}: {}", error.code().unwrap(), error.message().unwrap())
        })
    };
    let account = harness.sandbox.user_account_id();
    let bus = |region: &str, account: &str| format!("arn:aws:events:{region}:{account}:event-bus/panda-local");
    let region = harness.sandbox.region();
    for elsewhere in [harness.sandbox.bus_arn(), bus("us-east-1", account)] {
        let refused = put(&elsewhere, None).await.unwrap_err();
        assert_eq!(refused, format!("ValidationException: RoleArn is required for target {elsewhere}."));
        for role in ["arn:aws:iam::123456789012:role/panda-events", &format!("arn:aws:iam::{account}:role/absent")] {
            assert!(put(&elsewhere, Some(role)).await.unwrap_err().contains("cannot be assumed"), "{role}");
        }
        put(&elsewhere, Some(&harness.sandbox.events_role())).await.unwrap();
    }
    put(&bus(region, account), None).await.unwrap();
    harness.end().await;
}

#[tokio::test]
async fn wire__rules_listed_in_pages_and_limited() {
    let harness = Harness::start().await;
    let client = harness.events();
    for number in 0..300 {
        harness.put_rule(&format!("rule-{number:03}"), "one").await;
    }
    let first = client.list_rules().name_prefix("rule-").send().await.unwrap();
    let second =
        client.list_rules().name_prefix("rule-").set_next_token(first.next_token.clone()).send().await.unwrap();
    assert_eq!((first.rules().len(), second.rules()[0].name()), (100, Some("rule-100")));
    let pattern = r#"{"source": ["aws.ecr"]}"#;
    let full = client.put_rule().name("another").event_pattern(pattern).send().await.unwrap_err();
    assert!(full.into_service_error().is_limit_exceeded_exception());
    client.put_rule().name("rule-000").event_pattern(pattern).send().await.unwrap();
    client.delete_rule().name("rule-000").send().await.unwrap();
    client.put_rule().name("another").event_pattern(pattern).send().await.unwrap();
    harness.end().await;
}

#[tokio::test]
async fn wire__parallel_put_permission_loses_statements() {
    let harness = Harness::start().await;
    let client = eventbridge::Client::new(&harness.controller());
    let put = |principal: &'static str, sid: &'static str| {
        let call = client.put_permission().event_bus_name("panda").action("events:PutEvents");
        call.principal(principal).statement_id(sid).send()
    };
    let policy = async || {
        let bus = client.describe_event_bus().name(harness.sandbox.bus_arn()).send().await.unwrap();
        bus.policy()
            .map(|text| serde_json::from_str::<Value>(text).unwrap()["Statement"].as_array().unwrap().clone())
            .unwrap_or_default()
    };
    assert_eq!(policy().await, Vec::<Value>::new());
    put("111111111111", "one").await.unwrap();
    put("111111111111", "one").await.unwrap();
    let expected = json!({"AWS": "arn:aws:iam::111111111111:root"});
    assert_eq!(policy().await.iter().map(|one| &one["Principal"]).collect::<Vec<_>>(), [&expected]);
    let (two, three) = tokio::join!(put("222222222222", "two"), put("333333333333", "three"));
    two.unwrap();
    three.unwrap();
    assert_eq!(policy().await.len(), 2, "one of the two statements is lost, as in AWS");

    client.remove_permission().event_bus_name("panda").statement_id("one").send().await.unwrap();
    let again = client.remove_permission().event_bus_name("panda").statement_id("one").send().await.unwrap_err();
    assert!(again.into_service_error().is_resource_not_found_exception());
    let bus = client
        .put_permission()
        .event_bus_name("other")
        .action("events:PutEvents")
        .principal("111111111111")
        .statement_id("x");
    assert!(bus.send().await.unwrap_err().into_service_error().is_resource_not_found_exception());
    let by_arn = client
        .put_permission()
        .event_bus_name(harness.sandbox.bus_arn())
        .action("events:PutEvents")
        .principal("111111111111");
    assert_eq!(
        by_arn.statement_id("x").send().await.unwrap_err().into_service_error().code(),
        Some("ValidationException")
    );
    harness.end().await;
}

#[tokio::test]
async fn wire__accounts_isolated() {
    let mut harness = Harness::start().await;
    harness.link("acme-hello").await;
    let digest = harness.push("acme-hello", App::Exits).await;
    let arn = harness.execution_of("acme-hello", &digest).await;
    harness.end_of(&arn).await;
    let theirs = aws_sdk_sfn::Client::new(&harness.user());
    let denied = theirs.describe_execution().execution_arn(&arn).send().await.unwrap_err().into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    let name = "panda/stepfunctions/acme-hello-latest-execution";
    harness.secrets().get_secret_value().secret_id(name).send().await.unwrap();
    let hidden =
        secretsmanager::Client::new(&harness.user()).get_secret_value().secret_id(name).send().await.unwrap_err();
    assert!(hidden.into_service_error().is_resource_not_found_exception());
    let repositories = aws_sdk_ecr::Client::new(&harness.controller()).describe_repositories().send().await.unwrap();
    assert_eq!(repositories.repositories().len(), 0);
    let bus = harness.events().describe_event_bus().name("panda").send().await.unwrap_err();
    assert!(bus.into_service_error().is_resource_not_found_exception());
    harness.end().await;
}

#[tokio::test]
async fn wire__secret_created_once_then_put() {
    let harness = Harness::start().await;
    let client = harness.secrets();
    let missing = client.put_secret_value().secret_id("mine").secret_string("x").send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
    let created = client.create_secret().name("mine").secret_string("one").send().await.unwrap();
    let again = client.create_secret().name("mine").send().await.unwrap_err().into_service_error();
    assert!(again.is_resource_exists_exception());
    client.put_secret_value().secret_id(created.arn().unwrap()).secret_string("two").send().await.unwrap();
    let value = client.get_secret_value().secret_id("mine").send().await.unwrap();
    assert_eq!((value.secret_string(), value.name()), (Some("two"), Some("mine")));
    assert_eq!(client.describe_secret().secret_id("mine").send().await.unwrap().arn(), created.arn());
    harness.end().await;
}

#[tokio::test]
async fn wire__roles_created_over_http() {
    let harness = Harness::start().await;
    let url = harness.sandbox.control_url().join("roles").unwrap();
    let http = reqwest::Client::new();
    let role = format!("arn:aws:iam::{}:role/deploy", harness.sandbox.user_account_id());
    let policy = |condition: Value| {
        let principal = json!({"AWS": harness.sandbox.controller_account_id()});
        json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, "Condition": condition}})
    };
    let put = async |condition: Value| {
        let body = json!({"arn": role, "trustPolicy": policy(condition)});
        http.put(url.clone()).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(put(json!({"IpAddress": {"aws:SourceIp": "127.0.0.1"}})).await, 400, "an unsupported call is refused");
    assert_eq!(put(json!({"StringEquals": {"sts:ExternalId": "right"}})).await, 200);
    let request = sts::Client::new(&harness.controller()).assume_role().role_arn(&role).role_session_name("panda");
    assert!(request.clone().send().await.is_err());
    request.external_id("right").send().await.unwrap();
    harness.end().await;
}
