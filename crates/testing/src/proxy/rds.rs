//! A proxy before Postgres that admits clients as RDS does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A proxy that asks for the password as RDS does, checks the token, and connects to a server that trusts it.
pub async fn password_proxy(server: u16) -> (u16, Arc<AtomicUsize>) {
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
