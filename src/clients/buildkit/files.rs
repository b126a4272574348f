//! Sends the files of a build over BuildKit's fsutil protocol: first the metadata of all entries in order, then the contents that the daemon
//! requests.
//!
//! Only files that the context's rules include are offered, whatever patterns the daemon sends, and nothing outside the context is read.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::bounded;
use crate::clients::build_context::{BuildContext, ContextEntry, EntryKind};

/// Name under which the Dockerfile is sent, regardless of its name in the repository.
pub const DOCKERFILE: &str = "Dockerfile";

/// An ignore file beside the Dockerfile takes precedence over the context's own: this one keeps the daemon from filtering a second time.
const IGNORE_FILE: (&str, &[u8]) = ("Dockerfile.dockerignore", b"# filtered already\n");

/// Maximum content of one packet, in bytes.
const CHUNK_BYTES: usize = 32 * 1024;
/// Maximum number of packets that wait to be sent.
const MAX_QUEUED_PACKETS: usize = 32;
/// Bits of Go's file modes, as used by the protocol.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

/// Service that sends the context and the Dockerfile.
#[derive(Clone, Debug)]
pub struct Files {
    context: Arc<BuildContext>,
    /// Modification time of every file, in nanoseconds since 1970.
    modified_nanos: i64,
    /// Error from reading a file; the daemon itself only reports that the stream broke.
    unreadable: Arc<parking_lot::Mutex<Option<String>>>,
}

impl Files {
    /// Serves `context`; all files get the same modification time.
    pub fn new(context: Arc<BuildContext>, modified_nanos: i64) -> Self {
        Self { context, modified_nanos, unreadable: Arc::default() }
    }

    /// Returns the cell that stores an error from reading a file.
    pub fn unreadable(&self) -> Arc<parking_lot::Mutex<Option<String>>> {
        Arc::clone(&self.unreadable)
    }
}

/// The file trees that the daemon can request by name.
#[derive(Clone, Copy)]
enum Tree {
    Context,
    Dockerfile,
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = Packets;
    type TarStreamStream = stream::Pending<Result<Packet, Status>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let name = request.metadata().get("dir-name").and_then(|name| name.to_str().ok()).unwrap_or_default();
        let tree = match name {
            "context" => Tree::Context,
            "dockerfile" => Tree::Dockerfile,
            other => return Err(Status::not_found(format!("no folder {other:?} belongs to this build"))),
        };
        let (requests, wanted) = std::sync::mpsc::channel();
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            // Ids of requested files; their number is bounded, because each offered file is served once.
            while let Some(Ok(packet)) = incoming.next().await {
                if requests.send(packet).is_err() {
                    break;
                }
            }
        });
        let (packets, sent) = mpsc::channel(MAX_QUEUED_PACKETS);
        let (context, modified_nanos) = (Arc::clone(&self.context), self.modified_nanos);
        let unreadable = Arc::clone(&self.unreadable);
        tokio::task::spawn_blocking(move || {
            let sender = Sender { context: &context, modified_nanos, packets: &packets, wanted: &wanted };
            if let Err(error) = sender.run(tree) {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    unreadable.lock().get_or_insert_with(|| error.to_string());
                }
                // Fails only if the daemon has ended the stream.
                let _ = packets.blocking_send(Err(Status::unavailable(error.to_string())));
            }
        });
        Ok(Response::new(Box::pin(stream::unfold(sent, |mut sent| async {
            let packet = sent.recv().await?;
            Some((packet, sent))
        }))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("tar_stream"))
    }
}

struct Sender<'a> {
    context: &'a BuildContext,
    modified_nanos: i64,
    packets: &'a mpsc::Sender<Result<Packet, Status>>,
    wanted: &'a std::sync::mpsc::Receiver<Packet>,
}

/// Content of an offered file; its index in the order of the metadata is its id.
enum Contents {
    None,
    /// Path within the context, boxed to save memory: a context may have very many files.
    File(Box<Path>),
    Dockerfile,
    Fixed(&'static [u8]),
}

impl Sender<'_> {
    fn run(&self, tree: Tree) -> io::Result<()> {
        let mut offered = Vec::new();
        match tree {
            Tree::Context => {
                for entry in self.context.entries() {
                    let entry = entry?;
                    self.send(self.stat(&entry)?)?;
                    let is_file = matches!(entry.kind, EntryKind::File { .. });
                    offered.push(if is_file { Contents::File(entry.path.into()) } else { Contents::None });
                }
            }
            Tree::Dockerfile => {
                let (ignore_file, ignore_contents) = IGNORE_FILE;
                for (name, contents) in [(DOCKERFILE, self.context.dockerfile()), (ignore_file, ignore_contents)] {
                    let kind = EntryKind::File { size: contents.len() as u64, executable: false };
                    self.send(self.stat(&ContextEntry { path: name.into(), kind, source: name.into() })?)?;
                }
                offered.extend([Contents::Dockerfile, Contents::Fixed(ignore_contents)]);
            }
        }
        // A metadata packet without metadata ends the list.
        self.send(Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() })?;
        while let Ok(packet) = self.wanted.recv() {
            match packet.r#type() {
                PacketType::PacketReq => {
                    let at = usize::try_from(packet.id).unwrap_or(usize::MAX);
                    let unknown =
                        || io::Error::new(io::ErrorKind::InvalidInput, "the daemon asks for a file twice, or for none");
                    match offered.get_mut(at).map(|contents| std::mem::replace(contents, Contents::None)) {
                        Some(Contents::File(path)) => self.contents(packet.id, self.context.open_file(&path)?)?,
                        Some(Contents::Dockerfile) => self.contents(packet.id, self.context.dockerfile())?,
                        Some(Contents::Fixed(contents)) => self.contents(packet.id, contents)?,
                        Some(Contents::None) | None => return Err(unknown()),
                    }
                }
                PacketType::PacketFin => {
                    return self.send(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() });
                }
                PacketType::PacketErr => {
                    return Err(io::Error::new(
                        io::ErrorKind::BrokenPipe,
                        String::from_utf8_lossy(&packet.data).into_owned(),
                    ));
                }
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn contents(&self, id: u32, mut file: impl io::Read) -> io::Result<()> {
        loop {
            let data = bounded::start(file.by_ref(), CHUNK_BYTES as u64)?;
            let end = data.is_empty();
            // An empty packet ends the file.
            self.send(Packet { r#type: PacketType::PacketData.into(), id, data, ..Packet::default() })?;
            if end {
                return Ok(());
            }
        }
    }

    /// Returns an entry's metadata: modes that git stores, root as the owner, the commit's time.
    fn stat(&self, entry: &ContextEntry) -> io::Result<Packet> {
        let (bits, size, linkname) = match &entry.kind {
            EntryKind::Folder => (GO_DIRECTORY, 0, String::new()),
            EntryKind::Link { target } => (GO_SYMLINK, 0, text(target)?),
            EntryKind::File { size, .. } => (0, *size, String::new()),
        };
        let stat = Stat {
            path: text(&entry.path)?,
            mode: bits | entry.mode(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            mod_time: self.modified_nanos,
            linkname,
            ..Stat::default()
        };
        Ok(Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() })
    }

    fn send(&self, packet: Packet) -> io::Result<()> {
        self.packets.blocking_send(Ok(packet)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Returns a path as UTF-8, which the protocol requires.
fn text(path: &Path) -> io::Result<String> {
    let refused =
        || io::Error::new(io::ErrorKind::InvalidData, format!("the path {} is not valid UTF-8", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(refused)
}
