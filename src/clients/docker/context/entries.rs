//! A walk through a context folder.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use walkdir::{DirEntry, IntoIter, WalkDir};

use super::{
    super::ignore::{Descent, IgnoreRules, ParentMatches},
    files,
};
use crate::clients::workspace::shown;

/// The longest that the ignore file's patterns may take over all paths of a walk: no list that a person wrote comes near.
const MAX_MATCHING: Duration = Duration::from_mins(1);

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads, as it is written.
        target: PathBuf,
    },
}

/// A file, folder or link of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative to the context folder.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Where it lies on this machine.
    pub source: PathBuf,
}

impl Entry {
    /// Its permissions, of those that git keeps: whether a file is executable. The rest of the mode on disk is the umask's.
    pub fn mode(&self) -> u32 {
        match self.kind {
            EntryKind::File { executable: false, .. } => 0o644,
            EntryKind::File { executable: true, .. } | EntryKind::Folder => 0o755,
            EntryKind::Link { .. } => 0o777,
        }
    }

    /// Opens a file; one that became a link since is an error.
    pub fn open(&self) -> io::Result<fs::File> {
        files::open(&self.source)
    }
}

/// The entries of a context; blocking. An entry that cannot be read is an error: half a context must not become an image.
pub struct Entries<'a> {
    base: PathBuf,
    ignore: &'a IgnoreRules,
    descent: Descent,
    walk: IntoIter,
    /// The folders above the current path, outermost first.
    above: Vec<Above>,
    ready: VecDeque<Entry>,
    matching: Duration,
}

struct Above {
    matches: ParentMatches,
    /// The folder itself, while it is excluded and nothing below it was sent.
    unsent: Option<Entry>,
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
        if self.matching > MAX_MATCHING {
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
            // An excluded folder that holds an exception is needed to hold it.
            self.ready.extend(self.above.iter_mut().filter_map(|above| above.unsent.take()));
            self.ready.push_back(entry);
        }
        if is_folder {
            self.above.push(Above { matches, unsent });
        }
        Ok(())
    }

    fn entry(&self, found: &DirEntry) -> io::Result<Option<Entry>> {
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
        Ok(Some(Entry { path, kind, source: found.path().to_owned() }))
    }
}

impl Iterator for Entries<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(Ok(entry));
            }
            let named = |path: &Path, error: io::Error| {
                io::Error::new(error.kind(), format!("the build context's `{}`: {error}", shown(path)))
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
