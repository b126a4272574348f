//! Determines the build options: from the request and, for options that it omits, from the repository's `panda.toml`. Reads the health check there, too.

use std::io::ErrorKind;
use std::path::Path;

use super::{StepContext, StepError};
use crate::bounded::{self, ReadError};
use crate::domain::build_spec::BuildSpec;
use crate::domain::failure::ErrorCode;
use crate::domain::health_check::HealthCheckSpec;
use crate::domain::message::{Message, message};
use crate::domain::panda_toml::{self, FILE, MAX_BYTES, PandaToml};
use crate::domain::reason::Reason;

impl StepContext<'_> {
    /// Returns the build options of this deployment for the source in `workspace`, and the health check of the version.
    pub(super) async fn source_config(&self, workspace: &Path) -> Result<(BuildSpec, HealthCheckSpec), StepError> {
        let root = workspace.to_owned();
        let read = tokio::task::spawn_blocking(move || read(&root)).await;
        let file =
            read.unwrap_or_else(|error| Err(StepError::retryable(ErrorCode::SourceFetchFailed, unreadable(&error))))?;
        let PandaToml { build: defaults, health_check } = match file {
            Some(file) => panda_toml::parse(&file).map_err(|error| invalid(error.to_string()))?,
            None => PandaToml::default(),
        };
        let build = self.deployment.requested.build.clone().or(defaults);
        if let Some(unknown) = build.secrets.iter().find(|name| !self.github.build_secrets.contains_key(*name)) {
            let id = &self.github.id;
            return Err(invalid(message!("reason.secret_missing", name = unknown, id)));
        }
        Ok((build, health_check))
    }
}

fn invalid(reason: impl Into<Reason>) -> StepError {
    StepError::fatal(ErrorCode::BuildConfigInvalid, reason)
}

fn unreadable(error: &dyn std::error::Error) -> Message {
    message!("reason.file_unreadable", file = FILE, error = error.to_string())
}

/// Reads the file's text; `None` if there is no file. A link is refused: it could lead to a file of this host. Blocking.
fn read(root: &Path) -> Result<Option<String>, StepError> {
    let path = root.join(FILE);
    let unreadable = |error: std::io::Error| StepError::retryable(ErrorCode::SourceFetchFailed, unreadable(&error));
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !found.is_file() {
        return Err(invalid(message!("reason.file_no_file", file = FILE)));
    }
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    bounded::all(file, MAX_BYTES).and_then(bounded::text).map(Some).map_err(|error| match error {
        ReadError::TooLong(max) => invalid(message!("reason.file_too_long", file = FILE, max)),
        ReadError::NotText => invalid(message!("reason.file_not_utf8", file = FILE)),
        ReadError::Io(error) => unreadable(error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused(root: &Path) -> String {
        let StepError::Fatal { code: ErrorCode::BuildConfigInvalid, reason } = read(root).unwrap_err() else {
            panic!("another error");
        };
        reason.to_string()
    }

    #[test]
    fn reads_regular_files_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (folder.path(), folder.path().join(FILE));
        assert_eq!(read(root).unwrap(), None);
        std::fs::write(&path, "[build]\n").unwrap();
        assert_eq!(read(root).unwrap().as_deref(), Some("[build]\n"));
        std::fs::write(&path, "#".repeat(64 * 1024 + 1)).unwrap();
        assert!(refused(root).contains("65536 bytes"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(refused(root).contains("UTF-8"));
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/hostname", &path).unwrap();
        assert!(refused(root).contains("link"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(refused(root).contains("folder"));
    }
}
