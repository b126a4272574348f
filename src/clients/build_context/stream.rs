//! A context as a tar stream for the classic builder, produced while it is sent and never held in memory as a whole.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::{BuildContext, ContextEntry, EntryKind, files};
use crate::clients::workspace::display_path;

/// Size of one piece of the stream in bytes, and maximum number of pieces that wait to be sent.
const CHUNK_BYTES: usize = 64 * 1024;
const MAX_QUEUED_CHUNKS: usize = 8;

/// Receiving end of the stream.
pub(in super::super) type TarChunks = mpsc::Receiver<io::Result<Bytes>>;

impl BuildContext {
    /// Starts producing the stream on a blocking thread; it ends early when the receiver is dropped. An unreadable file is an error in the stream.
    /// All files get the modification time `time`; `None` means 1970.
    pub(in super::super) fn stream(self, time: Option<DateTime<Utc>>) -> TarChunks {
        let (sender, pieces) = mpsc::channel(MAX_QUEUED_CHUNKS);
        tokio::task::spawn_blocking(move || {
            let out = io::BufWriter::with_capacity(CHUNK_BYTES, Sink(sender.clone()));
            if let Err(error) = self.write_tar(out, time) {
                // Fails only if the receiver is gone, because the build is over.
                let _ = sender.blocking_send(Err(error));
            }
        });
        pieces
    }

    /// Writes the stream. Blocking.
    pub fn write_tar(&self, out: impl Write, time: Option<DateTime<Utc>>) -> io::Result<()> {
        let time = time.and_then(|time| u64::try_from(time.timestamp()).ok()).unwrap_or(0);
        let mut tar = Archive { tar: tar::Builder::new(out), time };
        // If the stream's `.dockerignore` excludes the Dockerfile and `.dockerignore`, the engine hides them from COPY; it uses that file for nothing
        // else. So a hidden Dockerfile is listed there.
        let hidden = self.visible_dockerfile().is_none().then(|| self.hidden_name());
        let mut patterns = None;
        for entry in self.entries() {
            let entry = entry?;
            if hidden.is_some() && entry.path == Path::new(".dockerignore") {
                patterns = Some(self.dockerignore_text()?);
                continue;
            }
            tar.append(&entry).map_err(|error| {
                io::Error::new(error.kind(), format!("the build context's `{}`: {error}", display_path(&entry.path)))
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

    /// Reads the context's own `.dockerignore`, if COPY sees it.
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

    fn append(&mut self, entry: &ContextEntry) -> io::Result<()> {
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
                // The size in the header is binding, whatever happens to the file meanwhile.
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

/// Reads exactly `left` bytes of a file; a shorter file is an error.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if max == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..max])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Passes written pieces to an async receiver, and blocks while it is slow.
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
