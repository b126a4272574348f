//! Address of the database and tokens in place of its password, independent of the driver.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use secrecy::SecretString;

/// Future of a token that replaces a password. An error text never contains a secret.
pub type Token<'a> = Pin<Box<dyn Future<Output = Result<SecretString, String>> + Send + 'a>>;

/// Source of short-lived passwords, such as RDS's tokens for an IAM role.
pub trait PasswordTokens: Send + Sync + fmt::Debug {
    /// Returns a password of `user` for the server. It is valid for connections opened within ten minutes.
    fn token<'a>(&'a self, host: &'a str, port: u16, user: &'a str) -> Token<'a>;
}

/// Source of the database's address.
#[derive(Clone, Debug)]
pub enum AddressSource {
    /// The address itself, from an option.
    Url(SecretString),
    /// File with the address, read again if the database refuses the password or the file changes.
    File(PathBuf),
}

impl From<SecretString> for AddressSource {
    fn from(url: SecretString) -> Self {
        Self::Url(url)
    }
}
