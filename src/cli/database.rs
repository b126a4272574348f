//! Names the database in errors about a refused connection. The errors of `db` must not: readiness shows them without authentication.

use secrecy::ExposeSecret as _;

use super::error::CliError;
use crate::app::AppError;
use crate::bounded;
use crate::config::DatabaseConfig;
use crate::domain::database::AddressSource;
use crate::domain::message::{Message, message};
use crate::domain::postgres_url::{Host, PostgresUrl, Server};

/// Adds database, role and servers of the URL to `error`, if the database refuses the connection. Never adds the password.
pub fn locate(error: CliError, source: &AddressSource) -> CliError {
    match error {
        CliError::Db(error) | CliError::App(AppError::Database(error)) if error.is_refused_connection() => {
            match url(source) {
                Some(url) => CliError::DatabaseRefused { error, address: address(&url) },
                None => CliError::Db(error),
            }
        }
        other => other,
    }
}

/// [`locate`] for a command that prefers the direct address, as [`crate::app::command_database`] does.
pub fn locate_command(error: CliError, config: &DatabaseConfig) -> CliError {
    locate(error, &config.direct_source().unwrap_or_else(|| config.source()))
}

/// `None` when the URL cannot be read: then the error is about the URL itself.
fn url(source: &AddressSource) -> Option<PostgresUrl> {
    match source {
        AddressSource::Url(url) => PostgresUrl::parse(url.expose_secret()).ok(),
        AddressSource::File(path) => PostgresUrl::parse(bounded::text_file(path).ok()?.trim()).ok(),
    }
}

/// `database "shop" as role "panda" at a:5432, [::1]`. Omits what the URL does not name: libpq's variables or defaults decide it.
fn address(url: &PostgresUrl) -> Message {
    let mut address = match &url.database {
        Some(database) => message!("cli.database_named", database = format!("{database:?}")),
        None => message!("cli.database_default"),
    };
    if let Some(role) = &url.user {
        address = message!("cli.database_role", address, role = format!("{role:?}"));
    }
    let servers: Vec<String> = url.servers.iter().filter_map(server).collect();
    if !servers.is_empty() {
        address = message!("cli.database_servers", address, servers = servers.join(", "));
    }
    address
}

fn server(server: &Server) -> Option<String> {
    let host = match &server.host {
        Host::Name(name) if name.contains(':') => format!("[{name}]"),
        Host::Name(name) => name.clone(),
        Host::Socket(folder) => folder.clone(),
        Host::Default => return server.port.map(|port| format!("port {port}")),
    };
    Some(match server.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        address(&PostgresUrl::parse(text).unwrap()).to_string()
    }

    #[test]
    fn names_database_role_and_servers_without_the_password() {
        assert_eq!(
            shown("postgres://panda:s3cret@db:5432/shop?sslmode=require"),
            "database \"shop\" as role \"panda\" at db:5432"
        );
        assert_eq!(
            shown("postgres://panda:s3cret@a:5432,[::1]:5433,c/shop"),
            "database \"shop\" as role \"panda\" at a:5432, [::1]:5433, c"
        );
        assert_eq!(
            shown("postgres://%2Frun%2Fpostgresql/shop?user=x&password=s3cret"),
            "database \"shop\" as role \"x\" at /run/postgresql"
        );
    }

    #[test]
    fn omits_what_the_url_does_not_name() {
        assert_eq!(shown("postgres:///"), "the default database");
        assert_eq!(shown("postgres://db"), "the default database at db");
    }

    #[test]
    fn reads_the_url_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "postgres://panda:s3cret@db/shop\n").unwrap();
        let url = url(&AddressSource::File(file.path().to_owned())).unwrap();
        assert_eq!(address(&url).to_string(), "database \"shop\" as role \"panda\" at db");
        assert!(super::url(&AddressSource::File("/nonexistent/url".into())).is_none());
    }
}
