//! Causes of failed connections, described for operators. The texts never contain a secret, a host or a name, because readiness shows them without
//! authentication.

use std::fmt;
use std::io::ErrorKind;

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;
use tokio_rustls::rustls;

use crate::domain::message::{Message, message};
use crate::domain::postgres_url::UrlError;

/// Oldest supported major version of Postgres.
pub const MIN_VERSION: u32 = 14;

/// Cause of a failed connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SQLSTATE 28P01: wrong password.
    Password,
    /// The role does not exist, or may not log in.
    Role,
    /// No entry of `pg_hba.conf` matches.
    NotAdmitted,
    /// Another authentication failed, such as a client certificate or IAM.
    Authentication,
    /// SQLSTATE 3D000: no such database.
    Database,
    /// The role lacks CONNECT on the database.
    NotGranted,
    /// SQLSTATE 53300: too many connections.
    TooMany,
    /// SQLSTATE 57P: shutting down or starting up.
    Starting,
    /// SQLSTATE 55000: the database has ALLOW_CONNECTIONS off.
    Closed,
    /// A pooler's refusal of a startup parameter that it does not pass on.
    Startup,
    /// The server does not offer TLS, and `sslmode` requires it.
    NoTls,
    /// The server's certificate, or the client's, is not accepted.
    Tls(&'static str),
    /// A certificate or key file cannot be read or parsed.
    TlsFiles,
    /// The host name does not resolve.
    HostUnknown,
    /// The server's port is closed.
    Refused,
    /// The socket does not exist, or access to it is denied.
    Socket,
    /// No route to the server.
    Unreachable,
    /// The server closed the connection during the handshake.
    HungUp,
    /// The server did not answer in time.
    Silent,
    /// All servers are standbys.
    ReadOnly,
    /// The server is older than [`MIN_VERSION`]; holds its major version.
    TooOld(u32),
    /// A session setting was refused; holds the SQLSTATE.
    Session(String),
    /// The file with the address cannot be read.
    UrlFile,
    /// The address cannot be parsed.
    Url(UrlError),
    /// No IAM token could be made; holds the error of AWS.
    Token(String),
    /// A pooler sends statements of one session to several servers and does not track prepared statements.
    Unprepared,
    /// A pooler in transaction mode, and a required setting that only the role's defaults can provide; holds its name.
    Pooled(&'static str),
    /// A pooler in statement mode, where each statement is a transaction.
    Untransacted,
    /// A migration needs one session, and the pooler shares sessions.
    Migration,
    /// The direct address leads to another database.
    Elsewhere,
    /// Any other refusal; holds the SQLSTATE.
    Other(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message().fmt(f)
    }
}

impl std::error::Error for Cause {}

impl Cause {
    /// Returns the text for people. It names neither role nor address, because readiness shows it without authentication.
    pub fn message(&self) -> Message {
        match self {
            Self::Password => message!("database.password"),
            Self::Role => message!("database.role"),
            Self::NotAdmitted => message!("database.not_admitted"),
            Self::Authentication => message!("database.authentication"),
            Self::Database => message!("database.no_database"),
            Self::NotGranted => message!("database.not_granted"),
            Self::TooMany => message!("database.too_many_connections"),
            Self::Starting => message!("database.starting"),
            Self::Closed => message!("database.closed"),
            Self::Startup => message!("database.startup"),
            Self::NoTls => message!("database.no_tls"),
            Self::TlsFiles => message!("database.tls_files"),
            Self::HostUnknown => message!("database.host_unknown"),
            Self::Refused => message!("database.refused"),
            Self::Socket => message!("database.socket"),
            Self::Unreachable => message!("database.unreachable"),
            Self::HungUp => message!("database.hung_up"),
            Self::Silent => message!("database.silent"),
            Self::ReadOnly => message!("database.all_read_only"),
            Self::UrlFile => message!("database.url_file"),
            Self::Unprepared => message!("database.unprepared"),
            Self::Untransacted => message!("database.untransacted"),
            Self::Migration => message!("database.migration"),
            Self::Elsewhere => message!("database.elsewhere"),
            Self::Tls(reason) => message!("database.tls", reason = *reason),
            Self::TooOld(version) => message!("database.too_old", version = *version, min = MIN_VERSION),
            Self::Session(code) => message!("database.session", code),
            Self::Url(error) => message!("database.url", error = error.to_string()),
            Self::Token(error) => message!("database.token", error),
            Self::Pooled(setting) => message!("database.pooled", setting = *setting),
            Self::Other(code) => message!("database.other", code),
        }
    }

    /// Determines the cause of a connection error.
    pub(super) fn of(error: &Error) -> Self {
        if let Some(cause) = carried(error) {
            return cause.clone();
        }
        match error {
            Error::Database(refused) => {
                let postgres = refused.try_downcast_ref::<PgDatabaseError>();
                Self::refused(&refused.code().unwrap_or_default(), postgres.and_then(PgDatabaseError::routine))
            }
            Error::Io(error) => Self::io(error),
            Error::Tls(error) => match error.downcast_ref::<rustls::Error>() {
                Some(error) => Self::tls(error),
                None if error.to_string().contains("does not support TLS") => Self::NoTls,
                None => Self::TlsFiles,
            },
            Error::Configuration(_) => Self::TlsFiles,
            Error::Protocol(_) => Self::HungUp,
            _ => Self::Silent,
        }
    }

    fn refused(code: &str, routine: Option<&str>) -> Self {
        match (code, routine) {
            ("28P01", _) => Self::Password,
            ("28000", Some("InitializeSessionUserId")) => Self::Role,
            ("28000", Some("ClientAuthentication")) => Self::NotAdmitted,
            ("28000", _) => Self::Authentication,
            ("3D000", _) => Self::Database,
            ("42501", _) => Self::NotGranted,
            ("53300", _) => Self::TooMany,
            ("55000", _) => Self::Closed,
            // 08P01 is PgBouncer's code, 0A000 that of RDS Proxy.
            ("08P01" | "0A000", _) => Self::Startup,
            (code, _) if code.starts_with("57P") => Self::Starting,
            (code, _) => Self::Other(code.to_owned()),
        }
    }

    fn io(error: &std::io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::tls(error);
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::NotFound | ErrorKind::PermissionDenied => Self::Socket,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::AddrNotAvailable => {
                Self::Unreachable
            }
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Self::HungUp,
            _ => Self::Silent,
        }
    }

    fn tls(error: &rustls::Error) -> Self {
        use rustls::CertificateError as C;
        Self::Tls(match error {
            rustls::Error::InvalidCertificate(C::UnknownIssuer) => {
                "its certificate is not signed by a trusted issuer (sslrootcert)"
            }
            rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
                "its certificate is for another name"
            }
            rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => "its certificate has expired",
            rustls::Error::InvalidCertificate(_) => "its certificate is not valid",
            rustls::Error::AlertReceived(_) => "it refuses the client's certificate or TLS version",
            _ => "server and client do not agree on the protocol",
        })
    }

    /// Reports that the server or the local configuration refuses the connection: an operator has to act, but a server may wait for that.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Password
                | Self::Role
                | Self::NotAdmitted
                | Self::Authentication
                | Self::Database
                | Self::NotGranted
                | Self::Closed
                | Self::Startup
                | Self::NoTls
                | Self::Tls(_)
                | Self::TlsFiles
                | Self::Session(_)
                | Self::UrlFile
                | Self::Url(_)
        )
    }

    /// Reports that waiting cannot help: an operator has to change the address, server or pooler.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::TooOld(_)
                | Self::Unprepared
                | Self::Untransacted
                | Self::Pooled(_)
                | Self::Migration
                | Self::Elsewhere
        )
    }
}

/// Returns the cause that [`wrap`] put into `error`.
pub(in crate::db) fn carried(error: &Error) -> Option<&Cause> {
    match error {
        Error::Configuration(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// Wraps `cause` in a driver error, so that it passes through the pool.
pub(super) fn wrap(cause: Cause) -> Error {
    Error::Configuration(Box::new(cause))
}
