use super::*;

fn keys(id: &str) -> AwsKeys {
    AwsKeys { access_key_id: id.into(), secret_access_key: SecretString::from("s3cr3t"), session_token: None }
}

async fn aws() -> Aws {
    Aws::new(AwsSettings {
        endpoint_url: Some("http://127.0.0.1:1/".parse().unwrap()),
        codedeploy_endpoint_url: None,
        controller_region: Some("ap-northeast-2".into()),
        controller_credentials: Some(keys("AKIDCONTROLLER")),
        operation_timeout: Duration::from_secs(5),
        controller_roles: Vec::new(),
        quotas: ApiQuotas::default(),
        calls: AwsCalls::default(),
    })
    .await
}

#[tokio::test]
async fn caches_user_clients_by_credentials() {
    let aws = aws().await;
    let known = |aws: &Aws| aws.inner.users.lock().len();
    for _ in 0..3 {
        aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(keys("AKID1")));
    }
    assert_eq!(known(&aws), 1);
    aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(keys("AKID2")));
    assert_eq!(known(&aws), 2);
    let renewed = AwsKeys { secret_access_key: SecretString::from("other"), ..keys("AKID2") };
    aws.user("aws_1", "us-east-1", &AwsCredentials::Keys(renewed));
    assert_eq!(known(&aws), 3, "the same key id with another secret");
    for n in 0..2 * MAX_CACHED_USERS {
        aws.user(&format!("aws_{n}"), "us-east-1", &AwsCredentials::Keys(keys("AKID3")));
    }
    assert_eq!(known(&aws), MAX_CACHED_USERS);
    assert_eq!(aws.controller_region(), Some("ap-northeast-2"));
}

#[tokio::test]
async fn unreachable_endpoint_is_unavailable() {
    let aws = aws().await;
    let role = AwsCredentials::Role {
        role_arn: "arn:aws:iam::111122223333:role/x".into(),
        external_id: SecretString::from("x"),
    };
    for credentials in [AwsCredentials::Keys(keys("AKID")), role] {
        let error = aws.user("aws_1", "us-east-1", &credentials).sts.caller_identity().await.unwrap_err();
        assert_eq!(error.kind, crate::clients::ErrorKind::Unavailable, "{error}");
        assert!(!error.to_string().contains("s3cr3t"));
    }
}
