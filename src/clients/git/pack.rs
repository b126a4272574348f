//! The received pack, indexed while it arrives, and the objects in it. Nothing here reads git's configuration: there is no repository, only
//! a folder of objects.

use std::cell::Cell;
use std::fs;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::path::Path;
use std::rc::Rc;

use git2::{Indexer, Odb, Repository};

use super::wire::OBJECTS;
use super::{GitError, GitLimits, tree};

/// The indexer unpacks the object that it is in again with each piece: large pieces keep that from being felt.
const PIECE: usize = 8 << 20;

/// Where a pack goes while it is received.
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
        // One commit's objects are its files and folders; a pack that announces far more is not this repository's.
        let most = limits.max_files.saturating_mul(2).saturating_add(10);
        let too_many = Rc::new(Cell::new(false));
        let seen = Rc::clone(&too_many);
        indexer.progress(move |progress| {
            seen.set(progress.total_objects() > most);
            !seen.get()
        });
        Ok(Self { writer: BufWriter::with_capacity(PIECE, indexer), too_many, limits })
    }

    /// The error in place of one that came from stopping the indexer.
    pub(super) fn explain(&self, error: GitError) -> GitError {
        if self.too_many.get() { GitError::too_large(tree::too_many(self.limits.max_files)) } else { error }
    }

    /// All objects, once the whole pack was written.
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
