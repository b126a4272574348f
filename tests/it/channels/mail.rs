//! Mail, to a real server of SMTP (aiosmtpd).

use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use pretty_assertions::assert_eq;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATH, caller, channel, hostile, ready, server, shown};
use crate::support::db::TestDb;
use crate::support::wait_for;

struct Smtp {
    port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
    authority: std::path::PathBuf,
    _folder: tempfile::TempDir,
    _child: Child,
}

impl Smtp {
    async fn start(security: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(path("authority.pem"), authority.pem()).unwrap();
        std::fs::write(path("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let mut child = Command::new(panda_testing::installed::installed().join("bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/channels/smtp.py"))
            .arg(security)
            .args([path("certificate.pem"), path("key.pem")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines: Lines<BufReader<ChildStdout>> = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        let mails: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { port, mails, authority: path("authority.pem"), _folder: folder, _child: child }
    }

    fn mails(&self) -> Vec<Value> {
        self.mails.lock().clone()
    }
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap();
    headers.iter().filter(|one| one[0] == name).map(|one| one[1].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_mail__one_thread_per_deployment_by_starttls() {
    let db = TestDb::new().await;
    let smtp = Smtp::start("starttls").await;
    let serve = server(&db).variables(&[("SSL_CERT_FILE", smtp.authority.to_str().unwrap())]).ready().await;
    let body = json!({
        "kind": "mail", "secret": "smtp-very-secret", "language": "en", "mentions": {"default": ["approvers@example.com"]},
        "mail": {"host": "localhost", "port": smtp.port, "user": "panda", "from": "panda@example.com", "to": ["ops@example.com"]},
    });
    let id = channel(&serve, &body).await;
    let mut deployment = hostile(&db).await;
    ready(&mut deployment).await;
    wait_for("a mail", async || smtp.mails().len() == 1).await;
    deployment.complete().await;
    wait_for("another one", async || smtp.mails().len() == 2).await;
    let mails = smtp.mails();
    let (first, second) = (&mails[0], &mails[1]);
    assert_eq!((&first["tls"], &first["authenticated"]), (&json!(true), &json!(true)));
    assert_eq!(first["to"], json!(["ops@example.com", "approvers@example.com"]));
    assert_eq!(second["to"], json!(["ops@example.com"]), "the approvers are asked once");
    let domain = |seq: &str| format!("<{id}.{}{seq}@example.com>", deployment.id());
    for mail in [first, second] {
        assert_eq!(header(mail, "References"), [domain("")]);
        assert_eq!(header(mail, "Subject"), [format!("[Panda] acme/shop · main ({})", deployment.id())]);
        assert!(header(mail, "Bcc").is_empty() && header(mail, "To") == ["ops@example.com"], "{mail}");
        let text = mail["body"].as_str().unwrap();
        assert!(text.contains("Bcc: evil@evil.example &") && !text.contains("\nBcc:"), "{text}");
        assert!(text.contains("https://panda.example.com/deployments/"));
    }
    assert_ne!(header(first, "Message-ID"), header(second, "Message-ID"));
    assert!(first["body"].as_str().unwrap().contains("The traffic switch awaits an approval"));
    wait_for("both are committed", async || shown(&serve, &id).await["delivered"] == 2).await;
    assert!(!shown(&serve, &id).await.to_string().contains("smtp-very-secret"));
    assert!(!serve.log().contains("smtp-very-secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_mail__tls_plain_and_refusals() {
    let db = TestDb::new().await;
    let (tls, plain) = (Smtp::start("tls").await, Smtp::start("plain").await);
    let serve = server(&db).variables(&[("SSL_CERT_FILE", tls.authority.to_str().unwrap())]).ready().await;
    let tested = async |mail: Value, user: Option<&str>, secret: &str| {
        let mut body = json!({"kind": "mail", "secret": secret, "mail": mail});
        if let Some(user) = user {
            body["mail"]["user"] = json!(user);
        }
        let id = channel(&serve, &body).await;
        caller(&serve).post(&format!("{PATH}/{id}/test"), &json!({})).await.data("채널 테스트 메시지를 보냈습니다.")
    };
    let mail = |port: u16, security: &str, to: &str| json!({"host": "localhost", "port": port, "security": security, "from": "panda@example.com", "to": [to]});
    let secure = || mail(tls.port, "tls", "ops@example.com");
    let accepted = tested(secure(), Some("panda"), "smtp-very-secret").await;
    assert_eq!(accepted, json!({"accepted": true, "status": 250, "error": null}));
    let wrong = tested(secure(), Some("panda"), "wrong").await;
    assert_eq!((&wrong["accepted"], &wrong["status"]), (&json!(false), &json!(535)));
    let open = tested(mail(plain.port, "plain", "ops@example.com"), None, "x").await;
    assert_eq!(open["accepted"], true, "{open}");
    let unknown = tested(mail(plain.port, "plain", "unknown@example.com"), None, "x").await;
    assert_eq!((&unknown["accepted"], &unknown["status"]), (&json!(false), &json!(550)));
    // A server without STARTTLS, and one whose certificate no authority signed, get no mail.
    let downgrade = tested(mail(plain.port, "starttls", "ops@example.com"), None, "x").await;
    assert_eq!(downgrade["accepted"], false, "{downgrade}");
    let other = Smtp::start("tls").await;
    let untrusted = tested(mail(other.port, "tls", "ops@example.com"), None, "x").await;
    assert_eq!(untrusted["accepted"], false, "{untrusted}");
    assert!(other.mails().is_empty() && plain.mails().len() == 1 && tls.mails().len() == 1);
}
