//! How the database is reached, as far as no driver is needed for it.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use secrecy::SecretString;

/// A token in place of a password, or why there is none; the reason holds no secret.
pub type Token<'a> = Pin<Box<dyn Future<Output = Result<SecretString, String>> + Send + 'a>>;

/// Makes passwords that hold for a few minutes, such as those of RDS for an IAM role.
pub trait PasswordTokens: Send + Sync + fmt::Debug {
    /// The password of `user` at a server, for connections that are opened within ten minutes.
    fn token<'a>(&'a self, host: &'a str, port: u16, user: &'a str) -> Token<'a>;
}

/// Where the address of the database comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// It is given.
    Url(SecretString),
    /// It is in a file, which is read again when the database refuses the password, and when it changes.
    File(PathBuf),
}

impl From<SecretString> for Source {
    fn from(url: SecretString) -> Self {
        Self::Url(url)
    }
}
