//! IAM tokens as RDS accepts them: in place of the password, as plaintext, valid for fifteen minutes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use panda::db::connect::Access;
use panda::domain::connection::AwsKeys;
use panda::domain::database::PasswordTokens;
use panda_testing::proxy::rds::password_proxy;
use secrecy::SecretString;

use super::{opened, trouble, write};
use crate::support::environment;
use crate::support::postgres_servers::Server;

async fn tokens(region: Option<&str>, controller_region: Option<&str>) -> Arc<dyn PasswordTokens> {
    let keys = AwsKeys {
        access_key_id: "AKIDCONTROLLER".into(),
        secret_access_key: SecretString::from("s3cr3t"),
        session_token: None,
    };
    let aws = environment::aws(None, controller_region, keys, Duration::from_secs(5), &[]);
    Arc::new(aws.await.rds_tokens(region.map(Into::into)))
}

#[tokio::test]
async fn iam__signed_token_replaces_password() {
    let Some(server) = Server::of(16, &[]).await else { return };
    server.sql("CREATE ROLE panda LOGIN;\nCREATE DATABASE panda OWNER panda").await;
    server.admit("local all all trust\nhost all panda 127.0.0.1/32 trust\n").await;
    let (port, taken) = password_proxy(server.port).await;
    let url = format!("postgres://panda@127.0.0.1:{port}/panda?sslmode=disable");
    let opened = |tokens| {
        let access = Access { tokens: Some(tokens), tested: true, direct: None };
        opened(SecretString::from(url.clone()).into(), access).unwrap()
    };
    let db = opened(tokens(Some("eu-west-1"), Some("us-east-1")).await);
    db.migrate().await.unwrap();
    write(&db).await.unwrap();
    assert!(taken.load(Ordering::SeqCst) > 2);
    write(&opened(tokens(None, Some("eu-west-1")).await)).await.unwrap();
    // Signed for another region.
    let said = trouble(&opened(tokens(None, Some("us-east-1")).await)).await;
    assert_eq!(said, "the database refuses the authentication of its role");
}
