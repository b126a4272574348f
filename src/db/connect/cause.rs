//! Why there is no connection, in words for operators: never a secret, a host or a name, because readiness shows them without authentication.

use std::io::ErrorKind;

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;
use tokio_rustls::rustls;

use crate::domain::postgres_url::UrlError;

/// The least Postgres that is supported.
pub const LEAST_VERSION: u32 = 14;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// 28P01.
    #[error("the database refuses the password")]
    Password,
    /// The role is not there, or may not log in.
    #[error("the database role does not exist or may not log in")]
    Role,
    /// `pg_hba.conf`.
    #[error(
        "the database's pg_hba.conf does not admit this role from this host, or not with this TLS mode or certificate"
    )]
    NotAdmitted,
    /// Another authentication failed, such as a client certificate or IAM.
    #[error("the database refuses the authentication of its role")]
    Authentication,
    /// 3D000.
    #[error("the database does not exist on its server")]
    Database,
    /// The role may not connect to the database.
    #[error("the database role may not connect to the database (GRANT CONNECT)")]
    NotGranted,
    /// 53300.
    #[error("the database takes no more connections")]
    TooMany,
    /// 57P.
    #[error("the database is stopping or starting")]
    Starting,
    /// 55000.
    #[error("the database accepts no connections (ALLOW_CONNECTIONS)")]
    Closed,
    /// What a pooler says to a startup parameter that it does not pass on.
    #[error("the connection pooler refuses a parameter of the connection")]
    Startup,
    /// The server has no TLS.
    #[error("the database has no TLS, and sslmode asks for it")]
    NoTls,
    /// Its certificate, or ours.
    #[error("the TLS handshake with the database failed: {0}")]
    Tls(&'static str),
    /// A certificate's or key's file.
    #[error("a file of sslrootcert, sslcert or sslkey cannot be used")]
    TlsFiles,
    /// The name does not resolve.
    #[error("the database's host name does not resolve")]
    HostUnknown,
    /// Nothing listens.
    #[error("nothing listens at the database's address (connection refused)")]
    Refused,
    /// The folder has no socket, or it may not be used.
    #[error("the database's socket does not exist or may not be used")]
    Socket,
    /// No way there.
    #[error("the database's network is unreachable")]
    Unreachable,
    /// It hung up.
    #[error("the database closed the connection while it was being opened")]
    HungUp,
    /// Silence.
    #[error("the database does not answer")]
    Silent,
    /// All servers are standbys.
    #[error("the database is read-only: none of its servers takes writes")]
    ReadOnly,
    /// Too old.
    #[error("the database is Postgres {0}; Panda needs {LEAST_VERSION} or newer")]
    TooOld(u32),
    /// A setting that a session needs is refused.
    #[error("the database refuses a setting that a session needs (SQLSTATE {0})")]
    Session(String),
    /// The file with the address.
    #[error("the file with the database URL cannot be read")]
    UrlFile,
    /// What is in it.
    #[error("the database URL is not valid: {0}")]
    Url(UrlError),
    /// No token.
    #[error("no IAM token for the database: {0}")]
    Token(String),
    /// The pooler gives statements of one session to several servers, and forgets what was prepared.
    #[error(
        "a connection pooler in transaction mode forgets prepared statements: use session mode, or PgBouncer 1.21 or newer with max_prepared_statements above 0"
    )]
    Unprepared,
    /// It does, and a setting has to hold.
    #[error(
        "through a connection pooler in transaction mode, {0} cannot be set by Panda: set it for the role (ALTER ROLE … SET …)"
    )]
    Pooled(&'static str),
    /// A migration needs a session.
    #[error(
        "the schema cannot be migrated through a connection pooler in transaction mode: give --database-direct-url (PANDA_DATABASE_DIRECT_URL) an address that leads to Postgres itself"
    )]
    Migration,
    /// The direct address leads elsewhere.
    #[error("--database-url and --database-direct-url are not the same database")]
    Elsewhere,
    /// Anything else.
    #[error("the database refuses the connection (SQLSTATE {0})")]
    Other(String),
}

impl Cause {
    /// Why connecting failed.
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
            // 08P01: PgBouncer. 0A000: RDS Proxy.
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
            _ => "the two sides do not agree",
        })
    }

    /// Whether the server, or the set-up here, refuses the connection: it takes an operator, though a server may wait for one.
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

    /// Whether only a person can mend it: by another address, server or pooler.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::TooOld(_) | Self::Unprepared | Self::Pooled(_) | Self::Migration | Self::Elsewhere)
    }
}

/// The cause that [`wrap`] put into `error`.
pub(in crate::db) fn carried(error: &Error) -> Option<&Cause> {
    match error {
        Error::Configuration(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// `cause`, as an error that goes where the driver's own go.
pub(super) fn wrap(cause: Cause) -> Error {
    Error::Configuration(Box::new(cause))
}
