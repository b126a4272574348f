//! A context as a tar stream, made while it is sent, never whole in memory: what the classic builder takes.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::{Context, Entry, EntryKind, files};
use crate::clients::workspace::shown;

/// The size of one piece of the stream, and how many may wait to be sent.
const PIECE: usize = 64 * 1024;
const PIECES_WAITING: usize = 8;

/// What the sender of the stream receives.
pub(in super::super) type Pieces = mpsc::Receiver<io::Result<Bytes>>;

impl Context {
    /// Starts making the stream on a blocking thread; it ends early when the receiver is dropped. A file that cannot be read is an error in the
    /// stream. `time` is given to all files; none: 1970.
    pub(in super::super) fn stream(self, time: Option<DateTime<Utc>>) -> Pieces {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        tokio::task::spawn_blocking(move || {
            let out = io::BufWriter::with_capacity(PIECE, Sink(sender.clone()));
            if let Err(error) = self.write_tar(out, time) {
                // Nobody left to tell: the build is over.
                let _ = sender.blocking_send(Err(error));
            }
        });
        pieces
    }

    /// Writes the stream; blocking.
    pub fn write_tar(&self, out: impl Write, time: Option<DateTime<Utc>>) -> io::Result<()> {
        let time = time.and_then(|time| u64::try_from(time.timestamp()).ok()).unwrap_or(0);
        let mut tar = Archive { tar: tar::Builder::new(out), time };
        // The engine hides the Dockerfile and `.dockerignore` from COPY if the stream's own `.dockerignore` excludes them, and reads nothing else
        // in it: so a hidden Dockerfile is listed there.
        let hidden = self.visible_dockerfile().is_none().then(|| self.hidden_name());
        let mut patterns = None;
        for entry in self.entries() {
            let entry = entry?;
            if hidden.is_some() && entry.path == Path::new(".dockerignore") {
                patterns = Some(self.dockerignore_text()?);
                continue;
            }
            tar.append(&entry).map_err(|error| {
                io::Error::new(error.kind(), format!("the build context's `{}`: {error}", shown(&entry.path)))
            })?;
        }
        if let Some(name) = hidden {
            let mut patterns = patterns.unwrap_or_else(|| b".dockerignore".to_vec());
            patterns.extend(format!("\n{}\n", name.display()).bytes());
            tar.append_bytes(Path::new(".dockerignore"), &patterns)?;
            tar.append_bytes(&name, &self.dockerfile_bytes)?;
        }
        tar.tar.into_inner()?.flush()
    }

    /// The context's own `.dockerignore`, where COPY sees it.
    fn dockerignore_text(&self) -> io::Result<Vec<u8>> {
        let path = self.folder.join(".dockerignore");
        let read = crate::clients::workspace::resolve_file(&self.root, &path)
            .and_then(|target| files::read(&self.root, &target, super::MAX_FILE_BYTES));
        read.map_err(io::Error::other)
    }
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    time: u64,
}

impl<W: Write> Archive<W> {
    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.time);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        match &entry.kind {
            EntryKind::Folder => {
                let mut header = self.header(tar::EntryType::Directory, entry.mode(), 0);
                self.tar.append_data(&mut header, &entry.path, io::empty())
            }
            EntryKind::Link { target } => {
                let mut header = self.header(tar::EntryType::Symlink, entry.mode(), 0);
                self.tar.append_link(&mut header, &entry.path, target)
            }
            EntryKind::File { size, .. } => {
                let mut header = self.header(tar::EntryType::Regular, entry.mode(), *size);
                // The header's size is a promise to the reader, whatever happens to the file meanwhile.
                let file = Exactly { file: entry.open()?, left: *size };
                self.tar.append_data(&mut header, &entry.path, file)
            }
        }
    }

    fn append_bytes(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        self.tar.append_data(&mut header, path, bytes)
    }
}

/// The first `left` bytes of a file; a shorter one is an error.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Hands what is written to an async receiver, and waits when it is slow.
struct Sink(mpsc::Sender<io::Result<Bytes>>);

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map(|()| piece.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
