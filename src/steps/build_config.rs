//! Determines the build options: from the request and, for options that it omits, from the repository's `panda.toml`.

use std::io::ErrorKind;
use std::path::Path;

use super::{StepContext, StepError};
use crate::bounded::{self, ReadError};
use crate::domain::build_spec::BuildSpec;
use crate::domain::failure::ErrorCode;
use crate::domain::panda_toml::{self, FILE, MAX_BYTES};

impl StepContext<'_> {
    /// Returns the build options of this deployment for the source in `workspace`.
    pub(super) async fn build_spec(&self, workspace: &Path) -> Result<BuildSpec, StepError> {
        let root = workspace.to_owned();
        let read = tokio::task::spawn_blocking(move || read(&root)).await;
        let file = read.unwrap_or_else(|error| {
            Err(StepError::retryable(ErrorCode::SourceFetchFailed, format!("{FILE} cannot be read: {error}")))
        })?;
        let defaults = match file {
            Some(file) => panda_toml::parse(&file).map_err(|error| invalid(error.to_string()))?,
            None => BuildSpec::default(),
        };
        let build = self.deployment.requested.build.clone().or(defaults);
        if let Some(unknown) = build.secrets.iter().find(|name| !self.github.build_secrets.contains_key(*name)) {
            let id = &self.github.id;
            return Err(invalid(format!(
                "the build names the secret {unknown}, which the connection {id} does not have; store it with \
                 `panda connections secrets set {id} {unknown}`"
            )));
        }
        Ok(build)
    }
}

fn invalid(reason: impl AsRef<str>) -> StepError {
    StepError::fatal(ErrorCode::BuildConfigInvalid, reason)
}

/// Reads the file's text; `None` if there is no file. A link is refused: it could lead to a file of this host. Blocking.
fn read(root: &Path) -> Result<Option<String>, StepError> {
    let path = root.join(FILE);
    let unreadable = |error: std::io::Error| {
        StepError::retryable(ErrorCode::SourceFetchFailed, format!("{FILE} cannot be read: {error}"))
    };
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if !found.is_file() {
        return Err(invalid(format!("{FILE} is a link or a folder; replace it by a regular file")));
    }
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    bounded::all(file, MAX_BYTES).and_then(bounded::text).map(Some).map_err(|error| match error {
        ReadError::TooLong(max) => invalid(format!("{FILE} has more than {max} bytes; keep only build settings in it")),
        ReadError::NotText => invalid(format!("{FILE} is not valid UTF-8")),
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
        reason
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
