//! Reads secrets from a variable, a file or standard input; never from the command line, which every user of the machine can
//! read in the list of processes, and which shells keep in their history.

use std::path::Path;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::error::CliError;
use crate::bounded::{self, ReadError};
use crate::domain::message::{Param, message};

/// Longest secret: a longer file is the wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the secret in `file` (`-` is standard input), or else in the first of `variables` that is set and not empty.
pub fn read(option: &str, file: Option<&Path>, variables: &[&str]) -> Result<Option<SecretString>, CliError> {
    match file {
        Some(path) if path == Path::new("-") => from(option, std::io::stdin().lock()).map(Some),
        Some(path) => {
            let opened = std::fs::File::open(path).map_err(|error| {
                CliError::input(
                    option,
                    message!("cli.secret_unreadable", path = path.display().to_string(), error = error.to_string()),
                )
            })?;
            from(option, opened).map(Some)
        }
        None => Ok(variables
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty())
            .map(SecretString::from)),
    }
}

/// Like [`read`], but fails without a secret.
pub fn require(option: &str, file: Option<&Path>, variables: &[&str]) -> Result<SecretString, CliError> {
    read(option, file, variables)?.ok_or_else(|| {
        let or = |first: Param, second: &&str| Param::from(message!("cli.or", first, second = *second));
        let (first, others) = variables.split_first().map_or(("", variables), |(first, others)| (*first, others));
        let variables = others.iter().fold(Param::from(first), or);
        CliError::input(option, message!("cli.secret_missing", variables, option))
    })
}

fn from(option: &str, source: impl std::io::Read) -> Result<SecretString, CliError> {
    let text = bounded::all(source, MAX_BYTES).and_then(bounded::text).map_err(|error| match error {
        ReadError::TooLong(_) => CliError::input(option, message!("cli.secret_too_long")),
        error => CliError::input(option, message!("cli.secret_broken", error = error.to_string())),
    })?;
    let text = Zeroizing::new(text);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(CliError::input(option, message!("cli.secret_empty")));
    }
    Ok(SecretString::from(trimmed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn trims_the_line_break_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ghp_secret\n").unwrap();
        let secret = require("--token-file", Some(file.path()), &[]).unwrap();
        assert_eq!(secret.expose_secret(), "ghp_secret");
    }

    #[test]
    fn rejects_empty_and_missing_files() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        for path in [empty.path(), Path::new("/nonexistent/token")] {
            let refused = require("--token-file", Some(path), &[]).unwrap_err();
            assert!(refused.to_string().starts_with("--token-file"), "{refused}");
        }
    }

    #[test]
    fn names_the_sources_of_a_missing_secret() {
        let refused = require("--token-file", None, &["PANDA_NO_SUCH_VARIABLE"]).unwrap_err().to_string();
        assert!(refused.contains("PANDA_NO_SUCH_VARIABLE") && refused.contains("--token-file FILE"), "{refused}");
    }

    #[test]
    fn rejects_long_files() {
        let refused = from("--token-file", std::io::repeat(b'x')).unwrap_err();
        assert!(refused.to_string().contains("right file"));
    }
}
