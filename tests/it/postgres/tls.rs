use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use super::{db, trouble, write};
use crate::support::postgres_servers::{PASSWORD, Server};

/// A certificate authority that no system trusts.
fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key, in PEM.
fn issued(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server whose certificate is for `localhost`, and which requires a client certificate of role `cert`.
async fn server(ca: &CertifiedIssuer<'static, KeyPair>) -> Option<Server> {
    let mut server = Server::made(16)?;
    let (certificate, key) = issued(ca, "localhost");
    let files = [server.file("crt", &certificate), server.file("key", &key), server.file("ca", &ca.pem())];
    let [crt, key, ca] = files.map(|path| path.display().to_string());
    let settings = [format!("ssl_cert_file={crt}"), format!("ssl_key_file={key}"), format!("ssl_ca_file={ca}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(["ssl=on"]).collect();
    server.start(&settings).await;
    server.sql(&format!("CREATE DATABASE panda;\nCREATE ROLE cert LOGIN SUPERUSER;\nCREATE ROLE tls LOGIN SUPERUSER PASSWORD '{PASSWORD}'")).await;
    server
        .admit("local all all trust\nhostssl all cert all cert\nhostssl all tls all scram-sha-256\nhost all postgres all scram-sha-256\n")
        .await;
    db(&server.url("panda")).migrate().await.unwrap();
    Some(server)
}

fn kept(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn postgres_tls__each_sslmode() {
    let (ca, other) = (issuer("Panda's tests"), issuer("Another"));
    let Some(server) = server(&ca).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let (ca, other) = (kept(&dir, "ca", &ca.pem()), kept(&dir, "other", &other.pem()));
    let url = |host: &str, query: &str| format!("postgres://tls:{PASSWORD}@{host}:{}/panda?{query}", server.port);
    let root = |mode: &str, path: &Path| format!("sslmode={mode}&sslrootcert={}", path.display());
    for (host, query) in [
        ("localhost", String::new()),
        ("localhost", "sslmode=prefer".to_owned()),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", root("verify-ca", &ca)),
        ("127.0.0.1", root("require", &ca)),
        ("localhost", root("verify-full", &ca)),
    ] {
        write(&db(&url(host, &query))).await.unwrap_or_else(|error| panic!("{host} {query}: {error}"));
    }
    for (host, query, expected) in [
        ("localhost", "sslmode=disable".to_owned(), "pg_hba.conf does not admit"),
        ("localhost", "sslmode=verify-full".to_owned(), "not signed by a trusted issuer"),
        ("localhost", root("verify-full", &other), "not signed by a trusted issuer"),
        ("127.0.0.1", root("verify-ca", &other), "not signed by a trusted issuer"),
        ("127.0.0.1", root("require", &other), "not signed by a trusted issuer"),
        ("127.0.0.1", root("verify-full", &ca), "for another name"),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem".to_owned(), "sslrootcert, sslcert or sslkey"),
    ] {
        let said = trouble(&db(&url(host, &query))).await;
        assert!(said.contains(expected), "{host} {query}: {said}");
    }
}

#[tokio::test]
async fn postgres_tls__client_certificate_replaces_password() {
    let (ca, other) = (issuer("Panda's tests"), issuer("Another"));
    let Some(server) = server(&ca).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let root = kept(&dir, "ca", &ca.pem()).display().to_string();
    let url = |name: &str, (certificate, key): (String, String)| {
        let (crt, key) = (kept(&dir, &format!("{name}.crt"), &certificate), kept(&dir, &format!("{name}.key"), &key));
        format!(
            "postgres://cert@localhost:{}/panda?sslmode=verify-full&sslrootcert={root}&sslcert={}&sslkey={}",
            server.port,
            crt.display(),
            key.display()
        )
    };
    write(&db(&url("cert", issued(&ca, "cert")))).await.unwrap();
    let said = trouble(&db(&url("wrong", issued(&ca, "somebody")))).await;
    assert_eq!(said, "the database refuses the authentication of its role");
    let said = trouble(&db(&url("other", issued(&other, "cert")))).await;
    assert!(said.contains("refuses the client's certificate") || said.contains("closed the connection"), "{said}");
    let none = format!("postgres://cert@localhost:{}/panda?sslmode=require", server.port);
    assert!(trouble(&db(&none)).await.contains("pg_hba.conf does not admit"));
}
