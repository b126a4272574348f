//! Walks through a context folder.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use walkdir::{DirEntry, IntoIter, WalkDir};

use super::{
    files,
    ignore::{Descent, IgnoreRules, ParentMatches},
};
use crate::clients::workspace::display_path;

/// Total time limit for matching the ignore file's patterns during one walk: no hand-written list comes near.
const MAX_MATCHING_TIME: Duration = Duration::from_mins(1);

/// Kind of a context entry, with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its content is sent.
    File {
        /// Size of the file in bytes.
        size: u64,
        /// Set when the owner may execute the file.
        executable: bool,
    },
    /// A folder, listed before its content.
    Folder,
    /// A symbolic link, never followed.
    Link {
        /// Target of the link, unresolved.
        target: PathBuf,
    },
}

/// A file, folder or link of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Path relative to the context folder.
    pub path: PathBuf,
    /// Kind of the entry, with its attributes.
    pub kind: EntryKind,
    /// Path of the entry on this machine.
    pub source: PathBuf,
}

impl ContextEntry {
    /// Returns the permissions that git stores, which only record whether a file is executable. All other mode bits on disk come from the umask.
    pub fn mode(&self) -> u32 {
        match self.kind {
            EntryKind::File { executable: false, .. } => 0o644,
            EntryKind::File { executable: true, .. } | EntryKind::Folder => 0o755,
            EntryKind::Link { .. } => 0o777,
        }
    }

    /// Opens a file; a file that has become a link meanwhile is an error.
    pub fn open(&self) -> io::Result<fs::File> {
        files::open(&self.source)
    }
}

/// Iterator over the entries of a context. Blocking. An unreadable entry is an error: half a context must not become an image.
pub struct Entries<'a> {
    base: PathBuf,
    ignore: &'a IgnoreRules,
    descent: Descent,
    walk: IntoIter,
    /// Parent folders of the current path, outermost first.
    above: Vec<Above>,
    ready: VecDeque<ContextEntry>,
    matching: Duration,
}

struct Above {
    matches: ParentMatches,
    /// Entry of the folder itself, while it is excluded and nothing below it was sent.
    unsent: Option<ContextEntry>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(base: &Path, ignore: &'a IgnoreRules, descent: Descent) -> Self {
        let walk = WalkDir::new(base).min_depth(1).sort_by_file_name().into_iter();
        let (above, ready) = (Vec::new(), VecDeque::new());
        Self { base: base.to_owned(), ignore, descent, walk, above, ready, matching: Duration::ZERO }
    }

    fn take(&mut self, found: &DirEntry) -> io::Result<()> {
        let is_folder = found.file_type().is_dir();
        if found.file_name() == ".git" {
            if is_folder {
                self.walk.skip_current_dir();
            }
            return Ok(());
        }
        let Some(entry) = self.entry(found)? else { return Ok(()) };
        self.above.truncate(found.depth() - 1);
        let root = ParentMatches::default();
        let started = Instant::now();
        let bytes = entry.path.as_os_str().as_bytes();
        let (excluded, matches) = self.ignore.excludes(bytes, self.above.last().map_or(&root, |above| &above.matches));
        let skipped = excluded && is_folder && !self.ignore.may_hold_exceptions(bytes, self.descent);
        self.matching += started.elapsed();
        if self.matching > MAX_MATCHING_TIME {
            return Err(io::Error::other("the patterns of the ignore file take too long: write fewer or simpler ones"));
        }
        if skipped {
            self.walk.skip_current_dir();
            return Ok(());
        }
        let mut unsent = None;
        if excluded {
            unsent = Some(entry);
        } else {
            // An excluded folder is sent if an exception lies below it.
            self.ready.extend(self.above.iter_mut().filter_map(|above| above.unsent.take()));
            self.ready.push_back(entry);
        }
        if is_folder {
            self.above.push(Above { matches, unsent });
        }
        Ok(())
    }

    fn entry(&self, found: &DirEntry) -> io::Result<Option<ContextEntry>> {
        let meta = fs::symlink_metadata(found.path())?;
        let kind = if meta.is_symlink() {
            EntryKind::Link { target: fs::read_link(found.path())? }
        } else if meta.is_dir() {
            EntryKind::Folder
        } else if meta.is_file() {
            EntryKind::File { size: meta.len(), executable: meta.mode() & 0o100 != 0 }
        } else {
            return Ok(None);
        };
        let path = found.path().strip_prefix(&self.base).map_err(io::Error::other)?.to_owned();
        Ok(Some(ContextEntry { path, kind, source: found.path().to_owned() }))
    }
}

impl Iterator for Entries<'_> {
    type Item = io::Result<ContextEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            let named = |path: &Path, error: io::Error| {
                io::Error::new(error.kind(), format!("the build context's `{}`: {error}", display_path(path)))
            };
            match self.walk.next()? {
                Ok(found) => {
                    if let Err(error) = self.take(&found) {
                        let path = found.path().strip_prefix(&self.base).unwrap_or(found.path());
                        return Some(Err(named(path, error)));
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
