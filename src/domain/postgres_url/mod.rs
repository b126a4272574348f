//! Postgres addresses in libpq's syntax: several hosts, sockets, IPv6, parameters. An unknown parameter is an error, because an ignored one
//! would only be noticed when it matters, such as in a failover. No error repeats any part of the address, which may be part of a password.

mod options;
mod parameters;

use std::net::Ipv6Addr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// Longest address, in bytes.
const MAX_BYTES: usize = 8 << 10;

/// Maximum number of servers in an address.
const MAX_SERVERS: usize = 16;

/// Reason for rejecting an address, without any part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl UrlError {
    /// The caller must not put any part of the address into `problem`.
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    /// Creates the error of a file that is empty or longer than any address.
    pub fn in_file() -> Self {
        Self::new("the file with the address is empty or too long")
    }
}

/// Use of TLS, and how strictly the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Do not use TLS.
    Disable,
    /// Use TLS if the server supports it, without checking the certificate.
    Prefer,
    /// Require TLS, without checking the certificate.
    Require,
    /// Require TLS and check the certificate's issuer, but not its name.
    VerifyCa,
    /// Require TLS and check the certificate's issuer and name.
    VerifyFull,
}

/// Host of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Host name or IP address.
    Name(String),
    /// Folder of a Unix socket.
    Socket(String),
    /// Value of `PGHOST`, or the system's default socket folder.
    Default,
}

/// One of the servers in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name, IP address or socket folder.
    pub host: Host,
    /// Port; none means the default port.
    pub port: Option<u16>,
}

/// Postgres address, parsed and validated.
#[derive(Clone, Debug, Default)]
pub struct PostgresUrl {
    /// Servers in the order in which they are tried; at least one.
    pub servers: Vec<Server>,
    /// Postgres role to sign in as.
    pub user: Option<String>,
    /// Password of the role.
    pub password: Option<SecretString>,
    /// Name of the database.
    pub database: Option<String>,
    /// Use of TLS; none means the value of `PGSSLMODE`.
    pub tls: Option<TlsMode>,
    /// File with the certificates of trusted issuers.
    pub root_cert: Option<String>,
    /// Files with the client's certificate and key.
    pub client_cert: Option<(String, String)>,
    /// Time limit of one connection attempt.
    pub connect_timeout: Option<Duration>,
    /// Name of the sessions in `pg_stat_activity`.
    pub application_name: Option<String>,
    /// Maximum number of prepared statements of a session.
    pub statement_cache: Option<usize>,
    /// Settings of each session, set after connecting.
    pub settings: Vec<(String, String)>,
}

impl PostgresUrl {
    /// Parses `text`, such as `postgres://user:password@a:5432,b:5432/database?sslmode=verify-full`.
    ///
    /// # Errors
    /// The rule that `text` breaks, without any part of `text`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| {
            UrlError::new(
                "give an address that begins with postgres://, such as postgres://user:password@host:port/database",
            )
        })?;
        if text.len() > MAX_BYTES {
            return Err(UrlError::new(format!("the address is longer than {MAX_BYTES} bytes")));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::new("the address holds a space or a control character; percent-encode it"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut url = Self::default();
        // Split at the last `@`, because a password may contain an unencoded `@`.
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        if let Some(login) = login {
            let (user, password) =
                login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
            url.user = filled(decoded(user)?);
            url.password = password.map(decoded).transpose()?.and_then(filled).map(SecretString::from);
        }
        url.servers = servers(hosts)?;
        url.database = filled(decoded(path)?);
        if let Some(query) = query {
            parameters::read(&mut url, query)?;
        }
        Ok(url)
    }
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Percent-decodes `text` as UTF-8 and rejects zero bytes.
fn decoded(text: &str) -> Result<String, UrlError> {
    let wrong =
        || UrlError::new("a % in the address does not begin a percent-encoded character of UTF-8; a % itself is %25");
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).ok_or_else(wrong)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong());
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| wrong())?;
    if decoded.contains('\0') {
        return Err(UrlError::new("the address holds a zero byte"));
    }
    Ok(decoded.into_owned())
}

/// Parses a list such as `a:5432,[::1],%2Frun%2Fpostgresql`.
fn servers(hosts: &str) -> Result<Vec<Server>, UrlError> {
    bounded(hosts.split(',').map(server).collect::<Result<_, _>>()?)
}

fn bounded(servers: Vec<Server>) -> Result<Vec<Server>, UrlError> {
    if servers.len() > MAX_SERVERS {
        return Err(UrlError::new(format!("the address names more than {MAX_SERVERS} hosts")));
    }
    Ok(servers)
}

fn server(text: &str) -> Result<Server, UrlError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) =
            rest.split_once(']').ok_or_else(|| UrlError::new("an IPv6 address lacks its closing bracket"))?;
        let port = match port {
            "" => None,
            port => Some(
                port.strip_prefix(':')
                    .ok_or_else(|| UrlError::new("only :port may follow an IPv6 address in brackets"))?,
            ),
        };
        let address = decoded(address)?;
        if !is_ipv6(&address) {
            return Err(UrlError::new("the text in brackets is not an IPv6 address"));
        }
        return Ok(Server { host: Host::Name(address), port: port.map(self::port).transpose()?.flatten() });
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    if port.is_some_and(|port| port.contains(':')) {
        return Err(UrlError::new(
            "put an IPv6 address in brackets, such as [::1]:5432; percent-encode a : of a user name as %3A",
        ));
    }
    Ok(Server { host: host(decoded(name)?)?, port: port.map(self::port).transpose()?.flatten() })
}

fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok()
        && zone.is_none_or(|zone| {
            !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        })
}

fn host(name: String) -> Result<Host, UrlError> {
    if name.is_empty() {
        return Ok(Host::Default);
    }
    if name.starts_with('/') {
        return Ok(Host::Socket(name));
    }
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if plain || is_ipv6(&name) {
        return Ok(Host::Name(name));
    }
    Err(UrlError::new(
        "a host is neither a name, nor an IP address, nor the folder of a socket; percent-encode /, ?, @, : and # of a password",
    ))
}

/// Parses a port. An empty text means the default port, as in libpq.
fn port(text: &str) -> Result<Option<u16>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(port)),
        _ => Err(UrlError::new(
            "a port is not a number from 1 to 65535; percent-encode /, ?, @, : and # of a password (%2F, %3F, %40, %3A, %23)",
        )),
    }
}

#[cfg(test)]
mod tests;
