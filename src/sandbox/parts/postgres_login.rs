//! Who may log in to a Postgres server of ours: the one who can read its password file.
//!
//! Programs of others reach loopback ports as well: every user of the machine, and every `RUN` line that is built with the host's network.
//! A superuser runs commands as the server's user, so nothing is trusted, and the cluster's own `pg_hba.conf` is not used.

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

use super::error::PartsError;

/// As many letters and digits hold 256 bits.
const PASSWORD_LENGTH: usize = 43;
/// Iterations slow down those who guess passwords, and this one cannot be guessed.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN;
/// All of a server's databases, and what a standby reads, over loopback, with the password.
const RULES: &str = "host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";

/// The file in `dir` that holds the server's password.
pub fn password_file(dir: &Path) -> PathBuf {
    dir.join("password")
}

/// The password that an earlier start kept in `dir`.
pub(super) fn kept(dir: &Path) -> Result<Option<SecretString>, PartsError> {
    let path = password_file(dir);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PartsError::file(&path)(error)),
    }
}

/// Keeps a password that the server knows by now.
pub(super) fn keep(dir: &Path, password: &SecretString) -> Result<(), PartsError> {
    write_new(&password_file(dir), password.expose_secret(), 0o600)
}

/// A new password.
pub(super) fn random() -> SecretString {
    let mut rng = rand::rng();
    SecretString::from((0..PASSWORD_LENGTH).map(|_| char::from(rng.sample(Alphanumeric))).collect::<String>())
}

/// What the server stores of a password (RFC 5803): nobody can log in with it, and it may stand in SQL and in files.
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

/// Writes the rules of who may log in and returns their file.
pub(super) fn write_rules(dir: &Path) -> Result<PathBuf, PartsError> {
    let path = dir.join("pg_hba.conf");
    // The server reads it as another user.
    write_new(&path, RULES, 0o644)?;
    Ok(path)
}

/// Replaces `path`; never through a link that is there.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PartsError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(PartsError::file(path)(error)),
        _ => {}
    }
    let file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(PartsError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_has_the_form_that_postgres_takes_and_not_the_password() {
        let password = random();
        let verifier = verifier(&password);
        let (head, keys) = verifier.rsplit_once('$').unwrap();
        assert!(head.starts_with("SCRAM-SHA-256$1:"), "{verifier}");
        let lengths: Vec<usize> = keys.split(':').map(|key| STANDARD.decode(key).unwrap().len()).collect();
        assert_eq!(lengths, [32, 32]);
        assert!(!verifier.contains(password.expose_secret()));
    }

    #[test]
    fn a_password_is_kept_for_its_owner_alone_and_not_written_through_a_link() {
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
