//! Indexes a pack while it arrives, and gives access to its objects. No git configuration is read: there is no repository, only a folder of objects.

use std::cell::Cell;
use std::fs;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::path::Path;
use std::rc::Rc;

use git2::{Indexer, Odb, Repository};

use super::wire::OBJECTS;
use super::{GitError, GitLimits, tree};

/// The indexer decompresses the current object again from its start for each piece: large pieces make that cost negligible.
const CHUNK_BYTES: usize = 8 << 20;

/// Receives and indexes a pack.
pub(super) struct Pack {
    writer: BufWriter<Indexer<'static>>,
    too_many: Rc<Cell<bool>>,
    limits: GitLimits,
}

impl Pack {
    pub(super) fn new(limits: GitLimits) -> Result<Self, GitError> {
        let folder = Path::new(OBJECTS).join("pack");
        fs::create_dir_all(&folder).map_err(|error| GitError::of_file(&error))?;
        let mut indexer = Indexer::new(None, &folder, 0, false).map_err(|error| GitError::of_objects(&error))?;
        // The objects of one commit are its files and folders; a pack that announces far more does not belong to this commit.
        let max = limits.max_files.saturating_mul(2).saturating_add(10);
        let too_many = Rc::new(Cell::new(false));
        let seen = Rc::clone(&too_many);
        indexer.progress(move |progress| {
            seen.set(progress.total_objects() > max);
            !seen.get()
        });
        Ok(Self { writer: BufWriter::with_capacity(CHUNK_BYTES, indexer), too_many, limits })
    }

    /// Replaces an error that was caused by stopping the indexer with the reason for stopping it.
    pub(super) fn explain(&self, error: GitError) -> GitError {
        if self.too_many.get() { GitError::too_large(tree::too_many(self.limits.max_files)) } else { error }
    }

    /// Completes the index and opens the objects, after the whole pack was written.
    pub(super) fn finish(mut self) -> Result<Repository, GitError> {
        let flushed = self.writer.flush().map_err(|error| super::protocol::of_pack(&error));
        flushed.map_err(|error| self.explain(error))?;
        let (too_many, limits) = (Rc::clone(&self.too_many), self.limits);
        let indexer = self.writer.into_inner().map_err(|error: IntoInnerError<_>| GitError::of_file(error.error()))?;
        let failed = |error: git2::Error| GitError::of_objects(&error);
        indexer.commit().map_err(|error| {
            if too_many.get() { GitError::too_large(tree::too_many(limits.max_files)) } else { failed(error) }
        })?;
        let objects = Odb::new().map_err(failed)?;
        objects.add_disk_alternate(OBJECTS).map_err(failed)?;
        Repository::from_odb(objects).map_err(failed)
    }
}

impl std::io::Write for Pack {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.writer.write(piece)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}
