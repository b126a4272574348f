//! Parameters of the address, after the `?`. Each one is applied, accepted because its value requires nothing, or rejected.

use std::time::Duration;

use secrecy::SecretString;

use super::{Host, PostgresUrl, Server, TlsMode, UrlError, bounded, decoded, filled, host, options, port};

/// Unsupported parameters of libpq and other drivers, each with the alternative. Errors name only these: another name may be part of a
/// password.
const REFUSED: [(&str, &str); 34] = [
    ("channel_binding", "only disable and prefer are supported"),
    ("gssencmode", "only disable and prefer are supported"),
    ("sslnegotiation", "only postgres is supported"),
    ("sslcompression", "only 0 is supported"),
    ("sslsni", "only 1 is supported"),
    ("sslcertmode", "only allow is supported"),
    ("ssl_min_protocol_version", "the minimum is always TLSv1.2, and no other minimum is supported"),
    ("ssl_max_protocol_version", "only TLSv1.3 is supported"),
    ("client_encoding", "only UTF8 is supported"),
    ("requiressl", "use sslmode=require"),
    ("ssl", "use sslmode=require or sslmode=verify-full"),
    ("sslfactory", "use sslmode and sslrootcert"),
    ("schema", "use options=-c%20search_path=NAME"),
    ("currentSchema", "use options=-c%20search_path=NAME"),
    ("search_path", "use options=-c%20search_path=NAME"),
    ("pgbouncer", "a self-test detects poolers; leave it out"),
    ("prepareThreshold", "a self-test detects poolers; leave it out"),
    ("prepared_statements", "a self-test detects poolers; leave it out"),
    ("connection_limit", "use --database-max-connections"),
    ("pool_timeout", "use --database-acquire-timeout-ms"),
    ("pool_size", "use --database-max-connections"),
    ("socketTimeout", "leave it out: statements already have time limits"),
    ("loginTimeout", "use connect_timeout"),
    ("statement_timeout", "leave it out: statements already have time limits"),
    ("service", "service files are not supported: give the address itself"),
    ("servicefile", "service files are not supported: give the address itself"),
    ("passfile", "set PGPASSFILE, or use --database-url-file"),
    ("sslcrl", "revocation lists are not supported"),
    ("sslcrldir", "revocation lists are not supported"),
    ("sslpassword", "encrypted keys are not supported"),
    ("replication", "leave it out"),
    ("requirepeer", "not supported; leave it out"),
    ("require_auth", "not supported; leave it out"),
    ("krbsrvname", "GSSAPI is not supported"),
];

pub(super) fn read(url: &mut PostgresUrl, query: &str) -> Result<(), UrlError> {
    let mut given = CombinedParameters::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            UrlError::new("a parameter lacks its =value; percent-encode / ? @ of a password (%2F, %3F, %40)")
        })?;
        parameter(url, &mut given, &decoded(name)?, decoded(value)?)?;
    }
    given.finish(url)
}

/// Parameters that are interpreted together, after all have been read.
#[derive(Default)]
struct CombinedParameters {
    hosts: Option<Vec<Host>>,
    addresses: Option<Vec<Host>>,
    ports: Option<Vec<Option<u16>>>,
    cert: Option<String>,
    key: Option<String>,
    fallback_name: Option<String>,
}

fn parameter(url: &mut PostgresUrl, given: &mut CombinedParameters, name: &str, value: String) -> Result<(), UrlError> {
    match name {
        "host" => given.hosts = Some(value.split(',').map(|name| host(name.to_owned())).collect::<Result<_, _>>()?),
        "hostaddr" => given.addresses = Some(value.split(',').map(address).collect::<Result<_, _>>()?),
        "port" => given.ports = Some(value.split(',').map(port).collect::<Result<_, _>>()?),
        "user" => url.user = filled(value),
        "password" => url.password = filled(value).map(SecretString::from),
        "dbname" => url.database = filled(value),
        "sslmode" | "ssl-mode" => url.tls = Some(tls(&value)?),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => url.root_cert = filled(value),
        "sslcert" | "ssl-cert" => given.cert = filled(value),
        "sslkey" | "ssl-key" => given.key = filled(value),
        "connect_timeout" => url.connect_timeout = seconds(&value)?,
        "application_name" => url.application_name = filled(value),
        "fallback_application_name" => given.fallback_name = filled(value),
        "statement-cache-capacity" => url.statement_cache = Some(capacity(&value)?),
        "options" => url.settings.extend(options::read(&value)?),
        "target_session_attrs" => match &*value {
            // Panda always connects to a server that accepts writes.
            "any" | "read-write" | "primary" => {}
            _ => {
                return Err(UrlError::new("`target_session_attrs` must be read-write: Panda cannot use a standby"));
            }
        },
        _ => match name.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => url.settings.push(options::setting(name, &value)?),
            None if changes_nothing(name, &value) => {}
            None => return Err(refused(name)),
        },
    }
    Ok(())
}

/// Returns true if the parameter requires only what is the case anyway, or what Panda does by other means: its own time limits detect dead
/// connections.
fn changes_nothing(name: &str, value: &str) -> bool {
    match name {
        "load_balance_hosts" => matches!(value, "disable" | "random"),
        "keepalives" | "keepalives_idle" | "keepalives_interval" | "keepalives_count" | "tcp_user_timeout" => {
            value.parse::<u32>().is_ok()
        }
        "channel_binding" | "gssencmode" => matches!(value, "disable" | "prefer"),
        "sslnegotiation" => value == "postgres",
        "sslcompression" | "requiressl" => value == "0",
        "sslsni" => value == "1",
        "sslcertmode" => value == "allow",
        "ssl_min_protocol_version" => matches!(value, "" | "TLSv1" | "TLSv1.1" | "TLSv1.2"),
        "ssl_max_protocol_version" => matches!(value, "" | "TLSv1.3"),
        "client_encoding" => matches!(&*value.to_ascii_lowercase(), "utf8" | "utf-8" | "unicode" | "auto"),
        _ => false,
    }
}

fn refused(name: &str) -> UrlError {
    match REFUSED.iter().find(|(known, _)| *known == name) {
        Some((known, instead)) => UrlError::new(format!("parameter `{known}`: {instead}")),
        None => UrlError::new(
            "the address has a parameter that Panda does not know (docs/postgres.md lists the known ones); percent-encode ? and & of a password (%3F, %26)",
        ),
    }
}

fn address(text: &str) -> Result<Host, UrlError> {
    let is_one = text.parse::<std::net::Ipv4Addr>().is_ok() || super::is_ipv6(text);
    is_one.then(|| Host::Name(text.to_owned())).ok_or_else(|| UrlError::new("`hostaddr` must be an IP address"))
}

fn tls(mode: &str) -> Result<TlsMode, UrlError> {
    Ok(match mode {
        "disable" => TlsMode::Disable,
        // Treat "allow" as "prefer": TLS if the server supports it is the safer part of "allow".
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => return Err(UrlError::new("`sslmode` must be disable, prefer, require, verify-ca or verify-full")),
    })
}

/// Parses a time limit in seconds. 0 means no limit and returns none.
fn seconds(text: &str) -> Result<Option<Duration>, UrlError> {
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(seconds) if seconds <= 600 => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(UrlError::new("`connect_timeout` must be whole seconds from 0 to 600")),
    }
}

fn capacity(text: &str) -> Result<usize, UrlError> {
    text.parse::<usize>()
        .ok()
        .filter(|capacity| (1..=10_000).contains(capacity))
        .ok_or_else(|| UrlError::new("`statement-cache-capacity` must be from 1 to 10000"))
}

impl CombinedParameters {
    fn finish(self, url: &mut PostgresUrl) -> Result<(), UrlError> {
        if self.addresses.is_some() && url.tls == Some(TlsMode::VerifyFull) {
            return Err(UrlError::new(
                "`hostaddr` cannot be combined with sslmode=verify-full, which checks the name in `host`: leave `hostaddr` out",
            ));
        }
        if let Some(hosts) = self.addresses.or(self.hosts) {
            let ports: Vec<_> = url.servers.iter().map(|server| server.port).collect();
            let port = |at: usize| if ports.len() == 1 { ports[0] } else { ports.get(at).copied().flatten() };
            let servers = hosts.into_iter().enumerate().map(|(at, host)| Server { host, port: port(at) }).collect();
            url.servers = bounded(servers)?;
        }
        if let Some(ports) = self.ports {
            if ports.len() != 1 && ports.len() != url.servers.len() {
                return Err(UrlError::new("`port` must have one port, or as many as there are hosts"));
            }
            for (at, server) in url.servers.iter_mut().enumerate() {
                server.port = if ports.len() == 1 { ports[0] } else { ports[at] };
            }
        }
        url.client_cert = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(UrlError::new("`sslcert` and `sslkey` must be given together")),
        };
        url.application_name = url.application_name.take().or(self.fallback_name);
        if url.root_cert.as_deref() == Some("system") {
            if url.tls != Some(TlsMode::VerifyFull) {
                return Err(UrlError::new("sslrootcert=system needs sslmode=verify-full"));
            }
            url.root_cert = None;
        }
        // As in libpq, a configured issuer is checked even with sslmode=require.
        if url.tls == Some(TlsMode::Require) && url.root_cert.is_some() {
            url.tls = Some(TlsMode::VerifyCa);
        }
        Ok(())
    }
}
