//! Driver options for one server of an address.

use std::net::IpAddr;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Error};
use url::Url;

use super::cause::{Cause, wrap};
use crate::domain::postgres_url::{Host, PostgresUrl, Server, TlsMode};

/// Default application name, shown in `pg_stat_activity`.
const APPLICATION_NAME: &str = "panda";

/// Builds the options for `server`. `token` replaces the password.
pub(super) fn of(url: &PostgresUrl, server: &Server, token: Option<&SecretString>) -> Result<PgConnectOptions, Error> {
    // Parsed from a URL, because only the driver's URL parser looks passwords up in PGPASSFILE.
    let mut lookup = Url::parse("postgres:///").map_err(|_| wrap(Cause::TlsFiles))?;
    {
        let mut query = lookup.query_pairs_mut();
        match &server.host {
            Host::Name(name) => query.append_pair("host", name),
            Host::Socket(folder) => query.append_pair("host", folder),
            Host::Default => &mut query,
        };
        for (name, value) in [("user", &url.user), ("dbname", &url.database)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if let Some(port) = server.port {
            query.append_pair("port", &port.to_string());
        }
    }
    let mut options = PgConnectOptions::from_url(&lookup)?
        .application_name(url.application_name.as_deref().unwrap_or(APPLICATION_NAME))
        // Poolers refuse this parameter in the startup message.
        .extra_float_digits(None);
    // Disables TLS over a socket, as libpq does.
    let tls = if matches!(server.host, Host::Socket(_)) { Some(TlsMode::Disable) } else { url.tls };
    if let Some(tls) = tls {
        options = options.ssl_mode(match tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
    }
    if let Some(password) = token.or(url.password.as_ref()) {
        options = options.password(password.expose_secret());
    }
    if let Some(capacity) = url.statement_cache {
        options = options.statement_cache_capacity(capacity);
    }
    if let Some(file) = &url.root_cert {
        options = options.ssl_root_cert(file);
    }
    if let Some((cert, key)) = &url.client_cert {
        options = options.ssl_client_cert(cert).ssl_client_key(key);
    }
    Ok(options)
}

/// Returns the host name that needs a DNS lookup; none for an IP address or a socket.
pub(super) fn name(options: &PgConnectOptions) -> Option<&str> {
    let host = options.get_host();
    let looked_up = !is_socket(options) && host.parse::<IpAddr>().is_err() && !host.contains('%');
    looked_up.then_some(host)
}

/// Reports that the options lead to a Unix socket.
pub(super) fn is_socket(options: &PgConnectOptions) -> bool {
    options.get_socket().is_some() || options.get_host().starts_with('/')
}
