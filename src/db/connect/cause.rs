//! Causes of failed connections, described for operators. The texts never contain a secret, a host or a name, because readiness shows them without
//! authentication.

use std::io::ErrorKind;

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;
use tokio_rustls::rustls;

use crate::domain::postgres_url::UrlError;

/// Oldest supported major version of Postgres.
pub const MIN_VERSION: u32 = 14;

/// Cause of a failed connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// SQLSTATE 28P01: wrong password.
    #[error("the database refuses the password")]
    Password,
    /// The role does not exist, or may not log in.
    #[error("the database role does not exist or may not log in")]
    Role,
    /// No entry of `pg_hba.conf` matches.
    #[error(
        "the database's pg_hba.conf does not admit this role from this host, or not with this TLS mode or certificate"
    )]
    NotAdmitted,
    /// Another authentication failed, such as a client certificate or IAM.
    #[error("the database refuses the authentication of its role")]
    Authentication,
    /// SQLSTATE 3D000: no such database.
    #[error("the database does not exist on its server")]
    Database,
    /// The role lacks CONNECT on the database.
    #[error("the database role may not connect to the database (GRANT CONNECT)")]
    NotGranted,
    /// SQLSTATE 53300: too many connections.
    #[error("the database takes no more connections")]
    TooMany,
    /// SQLSTATE 57P: shutting down or starting up.
    #[error("the database is stopping or starting")]
    Starting,
    /// SQLSTATE 55000: the database has ALLOW_CONNECTIONS off.
    #[error("the database accepts no connections (ALLOW_CONNECTIONS)")]
    Closed,
    /// A pooler's refusal of a startup parameter that it does not pass on.
    #[error("the connection pooler refuses a parameter of the connection")]
    Startup,
    /// The server does not offer TLS, and `sslmode` requires it.
    #[error("the database has no TLS, and sslmode asks for it")]
    NoTls,
    /// The server's certificate, or the client's, is not accepted.
    #[error("the TLS handshake with the database failed: {0}")]
    Tls(&'static str),
    /// A certificate or key file cannot be read or parsed.
    #[error("a file of sslrootcert, sslcert or sslkey cannot be used")]
    TlsFiles,
    /// The host name does not resolve.
    #[error("the database's host name does not resolve")]
    HostUnknown,
    /// The server's port is closed.
    #[error("nothing listens at the database's address (connection refused)")]
    Refused,
    /// The socket does not exist, or access to it is denied.
    #[error("the database's socket does not exist or may not be used")]
    Socket,
    /// No route to the server.
    #[error("the database's network is unreachable")]
    Unreachable,
    /// The server closed the connection during the handshake.
    #[error("the database closed the connection while it was being opened")]
    HungUp,
    /// The server did not answer in time.
    #[error("the database does not answer")]
    Silent,
    /// All servers are standbys.
    #[error("the database is read-only: none of its servers takes writes")]
    ReadOnly,
    /// The server is older than [`MIN_VERSION`]; holds its major version.
    #[error("the database is Postgres {0}; Panda needs {MIN_VERSION} or newer")]
    TooOld(u32),
    /// A session setting was refused; holds the SQLSTATE.
    #[error("the database refuses a setting that a session needs (SQLSTATE {0})")]
    Session(String),
    /// The file with the address cannot be read.
    #[error("the file with the database URL cannot be read")]
    UrlFile,
    /// The address cannot be parsed.
    #[error("the database URL is not valid: {0}")]
    Url(UrlError),
    /// No IAM token could be made; holds the error of AWS.
    #[error("no IAM token for the database: {0}")]
    Token(String),
    /// A pooler sends statements of one session to several servers and does not track prepared statements.
    #[error(
        "a connection pooler in transaction mode forgets prepared statements: use session mode, or PgBouncer 1.21 or newer with max_prepared_statements above 0"
    )]
    Unprepared,
    /// A pooler in transaction mode, and a required setting that only the role's defaults can provide; holds its name.
    #[error(
        "through a connection pooler in transaction mode, {0} cannot be set by Panda: set it for the role (ALTER ROLE … SET …)"
    )]
    Pooled(&'static str),
    /// A migration needs one session, and the pooler shares sessions.
    #[error(
        "the schema cannot be migrated through a connection pooler in transaction mode: set --database-direct-url (PANDA_DATABASE_DIRECT_URL) to an address of Postgres itself"
    )]
    Migration,
    /// The direct address leads to another database.
    #[error("--database-url and --database-direct-url are not the same database")]
    Elsewhere,
    /// Any other refusal; holds the SQLSTATE.
    #[error("the database refuses the connection (SQLSTATE {0})")]
    Other(String),
}

impl Cause {
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
        matches!(self, Self::TooOld(_) | Self::Unprepared | Self::Pooled(_) | Self::Migration | Self::Elsewhere)
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
