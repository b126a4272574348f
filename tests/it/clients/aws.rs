//! Errors of AWS calls through the real SDK: the transport is HTTP, the answers follow AWS's documentation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode};
use panda::clients::aws::{Aws, AwsSettings};
use panda::clients::{ClientError, ErrorKind};
use panda::domain::api_quota::ApiQuotas;
use panda::domain::connection::{AwsConnection, AwsCredentials, AwsKeys};
use panda::metrics::AwsCalls;
use secrecy::SecretString;
use url::Url;

use super::serve;
use crate::support::environment;

fn keys() -> AwsKeys {
    AwsKeys { access_key_id: "AKID".into(), secret_access_key: SecretString::from("hu5h"), session_token: None }
}

/// AWS clients with one endpoint for every service.
pub async fn at(endpoint: &Url) -> Aws {
    within(endpoint.clone(), Duration::from_secs(15)).await
}

async fn aws(endpoint: Url) -> Aws {
    within(endpoint, Duration::from_secs(3)).await
}

async fn within(endpoint: Url, operation_timeout: Duration) -> Aws {
    environment::aws(Some(endpoint), Some("ap-northeast-2"), keys(), operation_timeout, &[]).await
}

async fn identity(endpoint: Url, credentials: AwsCredentials) -> ClientError {
    aws(endpoint).await.user("aws_1", "us-east-1", &credentials).sts.caller_identity().await.unwrap_err()
}

/// An STS that knows the controller and refuses every other call.
async fn refusing_roles(code: &'static str) -> Url {
    let answer = move |body: String| async move {
        if body.contains("GetCallerIdentity") {
            let user =
                "<Arn>arn:aws:iam::123456789012:user/panda</Arn><UserId>U</UserId><Account>123456789012</Account>";
            let result = format!("<GetCallerIdentityResult>{user}</GetCallerIdentityResult>");
            return (StatusCode::OK, format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"));
        }
        let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>No way</Message></Error>");
        (StatusCode::FORBIDDEN, format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"))
    };
    serve(Router::new().fallback(answer)).await
}

/// An STS that refuses every call.
async fn refusing(status: StatusCode, code: &'static str) -> (Url, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let answer = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>No way</Message></Error>");
        (status, format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"))
    };
    (serve(Router::new().fallback(answer)).await, calls)
}

#[tokio::test]
async fn aws_client__unknown_keys_denied_with_aws_message() {
    let (url, calls) = refusing(StatusCode::FORBIDDEN, "InvalidClientTokenId").await;
    let error = identity(url, AwsCredentials::Keys(keys())).await;
    assert_eq!(error.kind, ErrorKind::Denied);
    assert_eq!(error.to_string(), "sts:GetCallerIdentity: No way (InvalidClientTokenId)");
    assert_eq!(calls.load(Ordering::Relaxed), 1, "a retry would not help");
}

#[tokio::test]
async fn aws_client__unassumable_role_named() {
    let external_id = SecretString::from("ext-hu5h");
    let role_arn = "arn:aws:iam::111122223333:role/x".to_owned();
    let error = identity(refusing_roles("AccessDenied").await, AwsCredentials::Role { role_arn, external_id }).await;
    assert_eq!((error.kind, error.call), (ErrorKind::Denied, "sts:AssumeRole"), "{error}");
    assert!(!format!("{error:?}").contains("hu5h"));
}

#[tokio::test]
async fn aws_client__controller_account_role_refused() {
    let url = refusing_roles("AccessDenied").await;
    let role_arn = "arn:aws:iam::123456789012:role/admin".to_owned();
    let external_id = SecretString::from("ext-hu5h");
    let error = identity(url, AwsCredentials::Role { role_arn, external_id }).await;
    assert_eq!((error.kind, error.call), (ErrorKind::Denied, "sts:GetCallerIdentity"), "{error}");
    assert!(error.message.contains("PANDA_CONTROLLER_ROLES") && !error.message.contains("hu5h"), "{error}");
}

#[tokio::test]
async fn aws_client__no_role_assumed_while_controller_unknown() {
    let (url, _) = refusing(StatusCode::FORBIDDEN, "InvalidClientTokenId").await;
    let role_arn = "arn:aws:iam::111122223333:role/x".to_owned();
    let error = identity(url, AwsCredentials::Role { role_arn, external_id: SecretString::from("ext") }).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "retryable: {error}");
    assert!(error.message.contains("is not known"), "{error}");
}

#[tokio::test]
async fn aws_client__throttling_retried_then_reported() {
    let (url, calls) = refusing(StatusCode::BAD_REQUEST, "Throttling").await;
    assert_eq!(identity(url, AwsCredentials::Keys(keys())).await.kind, ErrorKind::Throttled);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn aws_client__hanging_or_foreign_endpoint_times_out() {
    let hanging = serve(Router::new().fallback(std::future::pending::<()>)).await;
    let error = tokio::time::timeout(Duration::from_secs(30), identity(hanging, AwsCredentials::Keys(keys()))).await;
    assert_eq!(error.unwrap().kind, ErrorKind::Unavailable);
    let page = serve(Router::new().fallback(|| async { (StatusCode::NOT_FOUND, "<html>nothing here</html>") })).await;
    assert_eq!(identity(page, AwsCredentials::Keys(keys())).await.kind, ErrorKind::Invalid);
}

fn connection(account: &str) -> AwsConnection {
    AwsConnection {
        id: format!("aws_{account}"),
        region: "us-east-1".into(),
        account_id: account.into(),
        credentials: AwsCredentials::Keys(keys()),
        rule_target_role_arn: None,
    }
}

#[tokio::test]
async fn aws_client__used_up_quota_of_one_account_is_throttling() {
    let aws = Aws::new(AwsSettings {
        endpoint_url: Some(refusing_roles("AccessDenied").await),
        codedeploy_endpoint_url: None,
        controller_region: Some("ap-northeast-2".into()),
        controller_credentials: Some(keys()),
        operation_timeout: Duration::from_secs(2),
        controller_roles: Vec::new(),
        quotas: ApiQuotas::new(vec!["sts:*=1/0.1".parse().unwrap()]),
        calls: AwsCalls::default(),
    })
    .await;
    let sts = aws.user_of(&connection("111122223333"), "us-east-1").sts;
    sts.caller_identity().await.unwrap();
    let error = sts.caller_identity().await.unwrap_err();
    assert_eq!((error.kind, error.call), (ErrorKind::Throttled, "sts:GetCallerIdentity"), "{error}");
    assert!(error.message.contains("quota of sts:GetCallerIdentity"), "{error}");
    aws.user_of(&connection("444455556666"), "us-east-1").sts.caller_identity().await.unwrap();
    aws.user_of(&connection("111122223333"), "eu-west-1").sts.caller_identity().await.unwrap();
}
