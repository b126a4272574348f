//! Authentication of the private Postgres server: every connection needs the password in its password file.
//!
//! Other programs can reach loopback ports: programs of every user of the machine, and every `RUN` step built with the host's network.
//! A superuser can run commands as the server's user, so no connection is trusted, and the cluster's default `pg_hba.conf` is not used.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret as _, SecretString};

use super::error::DevServicesError;

/// Letters and digits for 256 bits of entropy.
const PASSWORD_LENGTH: usize = 43;
/// One iteration: more only slow down guessing, and a random password cannot be guessed.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN;
/// `pg_hba.conf`: all databases and replication, over loopback, with the password.
const RULES: &str = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";

/// Path of the server's password file in `dir`.
pub fn password_file(dir: &Path) -> PathBuf {
    dir.join("password")
}

/// The password that an earlier start stored in `dir`.
pub(super) fn kept(dir: &Path) -> Result<Option<SecretString>, DevServicesError> {
    let path = password_file(dir);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DevServicesError::file(&path)(error)),
    }
}

/// Stores a password after it was set in the server.
pub(super) fn keep(dir: &Path, password: &SecretString) -> Result<(), DevServicesError> {
    write_new(&password_file(dir), password.expose_secret(), 0o600)
}

/// A random password of [`PASSWORD_LENGTH`] characters.
pub(super) fn random() -> SecretString {
    let mut rng = rand::rng();
    SecretString::from((0..PASSWORD_LENGTH).map(|_| char::from(rng.sample(Alphanumeric))).collect::<String>())
}

/// The SCRAM verifier of a password (RFC 5803). It does not allow a login, so it may appear in SQL and in files.
pub(super) fn verifier(password: &SecretString) -> String {
    let salt: [u8; 16] = rand::random();
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, password.expose_secret().as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    let [salt, stored, server] = [&salt[..], stored.as_ref(), server.as_ref()].map(|bytes| STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
}

/// Writes `pg_hba.conf` and returns its path.
pub(super) fn write_rules(dir: &Path) -> Result<PathBuf, DevServicesError> {
    let path = dir.join("pg_hba.conf");
    // Readable by all: the server may run as another user.
    write_new(&path, RULES, 0o644)?;
    Ok(path)
}

/// Replaces the file `path`. Never follows an existing link.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), DevServicesError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(DevServicesError::file(path)(error)),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(DevServicesError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_does_not_contain_the_password() {
        let password = random();
        let verifier = verifier(&password);
        let (head, keys) = verifier.rsplit_once('$').unwrap();
        assert!(head.starts_with("SCRAM-SHA-256$1:"), "{verifier}");
        let lengths: Vec<usize> = keys.split(':').map(|key| STANDARD.decode(key).unwrap().len()).collect();
        assert_eq!(lengths, [32, 32]);
        assert!(!verifier.contains(password.expose_secret()));
    }

    #[test]
    fn stores_the_password_privately() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert!(kept(dir.path()).unwrap().is_none());
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, password_file(dir.path())).unwrap();
        let password = random();
        keep(dir.path(), &password).unwrap();
        assert!(!elsewhere.exists());
        assert_eq!(kept(dir.path()).unwrap().unwrap().expose_secret(), password.expose_secret());
        assert_eq!(password_file(dir.path()).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
