//! IAM tokens as RDS accepts them: in place of the password, as plaintext, valid for fifteen minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use panda::clients::aws::{Aws, AwsSettings};
use panda::db::connect::Access;
use panda::domain::connection::AwsKeys;
use panda::domain::database::PasswordTokens;
use panda::metrics::AwsCalls;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{opened, trouble, write};
use crate::support::postgres_servers::Server;

/// A proxy that asks for the password as RDS does, checks the token, and connects to a server that trusts it.
async fn password_proxy(server: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let _ = admit(near, port, server, &count).await;
            });
        }
    });
    (port, taken)
}

async fn message(near: &mut TcpStream, kind: bool) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; if kind { 5 } else { 4 }];
    near.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head[head.len() - 4..].try_into().unwrap()) as usize;
    let mut body = vec![0; length - 4];
    near.read_exact(&mut body).await?;
    Ok([head, body].concat())
}

async fn admit(mut near: TcpStream, port: u16, server: u16, count: &AtomicUsize) -> std::io::Result<()> {
    let startup = message(&mut near, false).await?;
    // AuthenticationCleartextPassword
    near.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]).await?;
    let password = message(&mut near, true).await?;
    let signed_address = String::from_utf8_lossy(&password[5..password.len() - 1]).into_owned();
    let signed = signed_address
        .starts_with(&format!("127.0.0.1:{port}/?Action=connect&DBUser=panda&X-Amz-Algorithm=AWS4-HMAC-SHA256"))
        && signed_address.contains("Credential=AKIDCONTROLLER%2F")
        && signed_address.contains("%2Feu-west-1%2Frds-db%2Faws4_request")
        && signed_address.contains("&X-Amz-Expires=900&")
        && signed_address.contains("&X-Amz-Signature=");
    if !signed {
        let fields = "SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user \"panda\"\0Rauth_failed\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        return near.write_all(&[b"E".as_slice(), &length, fields.as_bytes()].concat()).await;
    }
    count.fetch_add(1, Ordering::SeqCst);
    let mut far = TcpStream::connect(("127.0.0.1", server)).await?;
    far.write_all(&startup).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

async fn tokens(region: Option<&str>, controller_region: Option<&str>) -> Arc<dyn PasswordTokens> {
    let keys = AwsKeys {
        access_key_id: "AKIDCONTROLLER".into(),
        secret_access_key: SecretString::from("s3cr3t"),
        session_token: None,
    };
    let aws = Aws::new(AwsSettings {
        endpoint_url: None,
        codedeploy_endpoint_url: None,
        controller_region: controller_region.map(Into::into),
        controller_credentials: Some(keys),
        operation_timeout: Duration::from_secs(5),
        controller_roles: Vec::new(),
        calls: AwsCalls::default(),
    });
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
