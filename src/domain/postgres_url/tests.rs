use secrecy::ExposeSecret as _;

use super::*;

fn parsed(text: &str) -> PostgresUrl {
    PostgresUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn hosts(text: &str) -> Vec<(String, Option<u16>)> {
    parsed(text)
        .servers
        .into_iter()
        .map(|server| match server.host {
            Host::Name(name) => (name, server.port),
            Host::Socket(path) => (format!("socket {path}"), server.port),
            Host::Default => ("default".to_owned(), server.port),
        })
        .collect()
}

fn one(name: &str, port: impl Into<Option<u16>>) -> Vec<(String, Option<u16>)> {
    vec![(name.to_owned(), port.into())]
}

#[test]
fn hosts_in_every_notation() {
    assert_eq!(hosts("postgres://u:p@db/panda"), one("db", None));
    assert_eq!(hosts("postgresql://u:p@db:5433/panda"), one("db", 5433));
    assert_eq!(hosts("postgres://db"), one("db", None));
    assert_eq!(hosts("postgres://db:/panda"), one("db", None));
    assert_eq!(hosts("postgres://[::1]:5432/panda"), one("::1", 5432));
    assert_eq!(hosts("postgres://u@[::1]/panda"), one("::1", None));
    assert_eq!(hosts("postgres://[fe80::1%25eth0]/panda"), one("fe80::1%eth0", None));
    assert_eq!(hosts("postgres://127.0.0.1:1/"), one("127.0.0.1", 1));
    assert_eq!(hosts("postgres://%2Frun%2Fpostgresql/panda"), one("socket /run/postgresql", None));
    assert_eq!(hosts("postgres://u@%2Frun%2Fpostgresql:5433/panda"), one("socket /run/postgresql", 5433));
    assert_eq!(hosts("postgres:///panda?host=/run/postgresql&port=5433"), one("socket /run/postgresql", 5433));
    assert_eq!(hosts("postgres://db:5433/panda?host=::1"), one("::1", 5433));
    assert_eq!(hosts("postgres:///panda"), one("default", None));
    assert_eq!(hosts("postgres://"), one("default", None));
    assert_eq!(hosts("postgres://db/panda?hostaddr=10.0.0.1"), one("10.0.0.1", None));
    assert_eq!(hosts("postgres://db-1_x.example.com./panda"), one("db-1_x.example.com.", None));
    assert_eq!(
        hosts("postgres://u:p@a:5432,b,[::1]:5434/panda?target_session_attrs=read-write"),
        [("a".to_owned(), Some(5432)), ("b".to_owned(), None), ("::1".to_owned(), Some(5434))]
    );
    assert_eq!(hosts("postgres:///panda?host=a,b&port=1,2"), [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))]);
    assert_eq!(hosts("postgres://a,b/panda?port=7"), [("a".to_owned(), Some(7)), ("b".to_owned(), Some(7))]);
}

#[test]
fn login_is_decoded_and_may_contain_an_at_sign() {
    let url = parsed("postgres://us%40er:p%3A%2F%3F%25@x@db/pan%20da");
    assert_eq!(url.user.as_deref(), Some("us@er"));
    assert_eq!(url.password.unwrap().expose_secret(), "p:/?%@x");
    assert_eq!(url.database.as_deref(), Some("pan da"));
    let url = parsed("postgres://db?user=u&password=p%26+&dbname=d");
    assert_eq!((url.user.as_deref(), url.database.as_deref()), (Some("u"), Some("d")));
    assert_eq!(url.password.unwrap().expose_secret(), "p&+", "a + is a +");
    let url = parsed("postgres://u:@db");
    assert!(url.password.is_none());
    assert!(!format!("{:?}", parsed("postgres://u:s3cr3t@db")).contains("s3cr3t"));
}

#[test]
fn tls_modes_match_libpq() {
    let tls = |query: &str| parsed(&format!("postgres://db/panda?{query}")).tls;
    assert_eq!(tls(""), None);
    assert_eq!(tls("sslmode=allow"), Some(TlsMode::Prefer));
    assert_eq!(tls("sslmode=disable"), Some(TlsMode::Disable));
    assert_eq!(tls("sslmode=require"), Some(TlsMode::Require));
    assert_eq!(tls("sslmode=require&sslrootcert=/ca.pem"), Some(TlsMode::VerifyCa), "a configured issuer is checked");
    assert_eq!(tls("sslmode=verify-ca&sslrootcert=/ca.pem"), Some(TlsMode::VerifyCa));
    assert_eq!(tls("ssl-mode=verify-full"), Some(TlsMode::VerifyFull));
    assert_eq!(tls("sslmode=verify-full&sslrootcert=system"), Some(TlsMode::VerifyFull));
    let url = parsed("postgres://db/panda?sslmode=verify-full&sslrootcert=%2Fca.pem&sslcert=/c.pem&sslkey=/k.pem");
    assert_eq!(url.root_cert.as_deref(), Some("/ca.pem"));
    assert_eq!(url.client_cert, Some(("/c.pem".to_owned(), "/k.pem".to_owned())));
}

#[test]
fn options_become_settings() {
    let settings = |query: &str| parsed(&format!("postgres://db/panda?{query}")).settings;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(settings("options=-c%20search_path=panda"), [pair("search_path", "panda")]);
    assert_eq!(
        settings("options=-csearch_path=a,b%20--work-mem=64MB%20-c%20x.y=a%5C%20b"),
        [pair("search_path", "a,b"), pair("work_mem", "64MB"), pair("x.y", "a b")]
    );
    assert_eq!(settings("options[search_path]=panda"), [pair("search_path", "panda")]);
    assert_eq!(settings("options=-csearch_path='%22$user%22'"), [pair("search_path", "'\"$user\"'")]);
}

#[test]
fn parameters_that_change_nothing_are_accepted() {
    for query in [
        "keepalives=1&keepalives_idle=30&tcp_user_timeout=1000",
        "channel_binding=prefer&gssencmode=disable&sslsni=1",
        "load_balance_hosts=random&client_encoding=UTF8&ssl_min_protocol_version=TLSv1.2",
        "connect_timeout=10&application_name=panda%20prod&",
    ] {
        parsed(&format!("postgres://db/panda?{query}"));
    }
}

#[test]
fn errors_have_the_remedy_and_no_part_of_the_address() {
    let refused = |text: &str| PostgresUrl::parse(text).map(|url| panic!("{text}: {url:?}")).unwrap_err().to_string();
    for (text, words) in [
        ("mysql://h/d", "postgres://"),
        ("host=db dbname=panda", "postgres://"),
        ("postgres://u:hun/ter2@db/panda", "percent-encode"),
        ("postgres://u:hun?ter2@db/panda", "percent-encode"),
        ("postgres://u:hun?ter2=x@db/panda", "percent-encode"),
        ("postgres://u:hun%zzter2@db/panda", "%25"),
        ("postgres://u:hunter2%@db/panda", "%25"),
        ("postgres://u:hunter2%ff@db/panda", "%25"),
        ("postgres://u:hunter2%00@db/panda", "zero byte"),
        ("postgres://u:hunter2 @db/panda", "space"),
        ("postgres://u:hunter2@db/panda\n", "control character"),
        ("postgres://u:hunter2@db:0/panda", "port"),
        ("postgres://u:hunter2@db:65536/panda", "port"),
        ("postgres://u:hunter2@db:+1/panda", "port"),
        ("postgres://u:hunter2@::1/panda", "brackets"),
        ("postgres://u:hunter2@[::1/panda", "bracket"),
        ("postgres://u:hunter2@[db]/panda", "IPv6"),
        ("postgres://u:hunter2@[::1]5432/panda", "port"),
        ("postgres://u:hunter2@d%20b/panda", "host"),
        ("postgres://u:hunter2@db/panda?host=@abstract", "host"),
        ("postgres://u:hunter2@db/panda?hostaddr=db", "hostaddr"),
        ("postgres://u:hunter2@db/panda?hostaddr=10.0.0.1&sslmode=verify-full", "hostaddr"),
        ("postgres://u:hunter2@a,b,c/panda?port=1,2", "as many as"),
        ("postgres://u:hunter2@db/panda?sslmode=on", "sslmode"),
        ("postgres://u:hunter2@db/panda?sslcert=/c", "sslkey"),
        ("postgres://u:hunter2@db/panda?sslrootcert=system", "verify-full"),
        ("postgres://u:hunter2@db/panda?ssl=true", "sslmode=require"),
        ("postgres://u:hunter2@db/panda?schema=x", "search_path"),
        ("postgres://u:hunter2@db/panda?pgbouncer=true", "self-test"),
        ("postgres://u:hunter2@db/panda?channel_binding=require", "channel_binding"),
        ("postgres://u:hunter2@db/panda?client_encoding=LATIN1", "UTF8"),
        ("postgres://u:hunter2@db/panda?service=x", "service"),
        ("postgres://u:hunter2@db/panda?target_session_attrs=standby", "standby"),
        ("postgres://u:hunter2@db/panda?target_session_attrs=prefer-standby", "standby"),
        ("postgres://u:hunter2@db/panda?connect_timeout=soon", "connect_timeout"),
        ("postgres://u:hunter2@db/panda?hunter2=1", "does not know"),
        ("postgres://u:hunter2@db/panda?sslmode", "=value"),
        ("postgres://u:hunter2@db/panda?options=-d%205", "options"),
        ("postgres://u:hunter2@db/panda?options=-c", "options"),
        ("postgres://u:hunter2@db/panda?options=-c%20a;b=1", "options"),
        ("postgres://u:hunter2@db/panda?options[a'b]=1", "options"),
        ("postgres://u:hunter2@db/panda?statement-cache-capacity=0", "statement-cache-capacity"),
    ] {
        let problem = refused(text);
        assert!(problem.contains(words), "{text}: {problem}");
        assert!(!problem.contains("hun") && !problem.contains("ter2"), "{text}: {problem}");
    }
    let many = vec!["h"; MAX_SERVERS + 1].join(",");
    assert!(refused(&format!("postgres://{many}/d")).contains("16"));
    assert!(refused(&format!("postgres://u:{}@h/d", "p".repeat(MAX_BYTES))).contains("8192"));
}
