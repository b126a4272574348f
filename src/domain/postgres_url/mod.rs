//! Addresses of Postgres as libpq reads them: several hosts, sockets, IPv6, parameters. What is not understood is an error, because an ignored
//! parameter is found out when it matters, such as in a failover. No error repeats any part of the address: it may be part of a password.

mod options;
mod parameters;

use std::net::Ipv6Addr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

/// Most bytes of an address.
const MAX_BYTES: usize = 8 << 10;

/// Most servers that an address names.
const MAX_SERVERS: usize = 16;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

impl UrlError {
    /// `problem` must not hold anything of the address.
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    /// Of a file that cannot hold an address.
    pub fn in_file() -> Self {
        Self::new("its file is empty or too long")
    }
}

/// How far the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it; nothing is checked.
    Prefer,
    /// TLS or nothing; the certificate is not checked.
    Require,
    /// The certificate's issuer is checked, the name is not.
    VerifyCa,
    /// Issuer and name are checked.
    VerifyFull,
}

/// Where one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an IP address.
    Name(String),
    /// The folder of a socket.
    Socket(String),
    /// What `PGHOST` says, or the system's usual place.
    Default,
}

/// One of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub host: Host,
    /// Its port; the usual one when absent.
    pub port: Option<u16>,
}

/// An address, taken apart.
#[derive(Clone, Debug, Default)]
pub struct PostgresUrl {
    /// In the order in which they are tried; at least one.
    pub servers: Vec<Server>,
    /// The role.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
    /// The database.
    pub database: Option<String>,
    /// TLS; what `PGSSLMODE` says when absent.
    pub tls: Option<TlsMode>,
    /// File with the certificates of trusted issuers.
    pub root_cert: Option<String>,
    /// Files with the client's certificate and key.
    pub client_cert: Option<(String, String)>,
    /// Limit of one attempt to connect.
    pub connect_timeout: Option<Duration>,
    /// What the server shows the sessions as.
    pub application_name: Option<String>,
    /// Most prepared statements of a session.
    pub statement_cache: Option<usize>,
    /// Settings of each session, set after connecting.
    pub settings: Vec<(String, String)>,
}

impl PostgresUrl {
    /// Reads `text`, such as `postgres://user:password@a:5432,b:5432/database?sslmode=verify-full`.
    ///
    /// # Errors
    /// Says what is wrong, without any part of `text`.
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
        // The last one: a password may hold one that is not encoded.
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

/// Percent-decodes `text`.
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

/// `a:5432,[::1],%2Frun%2Fpostgresql`.
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
                port.strip_prefix(':').ok_or_else(|| UrlError::new("after an IPv6 address in brackets comes :port"))?,
            ),
        };
        let address = decoded(address)?;
        if !is_ipv6(&address) {
            return Err(UrlError::new("what is in brackets is not an IPv6 address"));
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

/// None when it is empty, as libpq has it.
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
