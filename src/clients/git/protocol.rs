//! Git's protocol, version 2: resolves a branch or tag to a commit, and fetches a pack with this single commit. Servers that answer in version 0 are
//! supported too.

use std::io::Write;

use super::http::{PacketReader, Remote};
use super::pkt::{Packet, line};
use super::{GitError, GitErrorKind};
use crate::domain::source::Revision;
use crate::domain::text;

/// Maximum number of bytes of a ref list: the largest known repositories have about 50 MB, which only old servers send.
const MAX_REFS_BYTES: usize = 64 << 20;
const ID_DIGITS: usize = 40;
/// Maximum length of a server message that is passed on, in characters.
const MAX_REMARK_CHARS: usize = 300;

/// Protocol version of the server, with its capabilities.
enum Server {
    Two {
        has_shallow: bool,
    },
    /// Capabilities, and the wanted ref if the server has it.
    Zero {
        capabilities: String,
        found: Option<String>,
    },
}

/// Fetches the commit of `revision` without its history, and writes the pack to `pack`. Returns the id of the commit, or of the annotated tag that
/// leads to it.
pub(super) async fn fetch(
    remote: &mut Remote<'_>,
    revision: &Revision,
    max_bytes: usize,
    pack: &mut impl Write,
) -> Result<String, GitError> {
    let name = match revision {
        Revision::Branch(name) => Some(format!("refs/heads/{name}")),
        Revision::Tag(name) => Some(format!("refs/tags/{name}")),
        Revision::Commit(_) => None,
    };
    let server = greet(remote, name.as_deref()).await?;
    let id = match (revision, &name, &server) {
        (Revision::Commit(id), ..) => Some(id.clone()),
        (_, _, Server::Zero { found, .. }) => found.clone(),
        (_, Some(name), Server::Two { .. }) => find_ref(remote, name).await?,
        (_, None, Server::Two { .. }) => None,
    };
    let id = id.ok_or_else(|| not_found(revision))?;
    let request = match &server {
        Server::Two { has_shallow: false } => return Err(shallow_unsupported()),
        Server::Two { .. } => request_two(&id),
        Server::Zero { capabilities, .. } => request_zero(&id, capabilities)?,
    };
    let mut answer = remote.upload_pack(request, max_bytes).await?;
    receive(&mut answer, revision, matches!(server, Server::Two { .. }), pack).await?;
    Ok(id)
}

/// Creates the error for a revision that does not exist.
pub(super) fn not_found(revision: &Revision) -> GitError {
    let (kind, what) = match revision {
        Revision::Branch(name) => (GitErrorKind::BranchNotFound, format!("branch {name:?}")),
        Revision::Tag(name) => (GitErrorKind::TagNotFound, format!("tag {name:?}")),
        Revision::Commit(id) => (GitErrorKind::CommitNotFound, format!("commit {id}")),
    };
    GitError::new(kind, format!("the repository has no {what}"))
}

fn shallow_unsupported() -> GitError {
    GitError::invalid("the git server cannot send a commit without its history (\"shallow\")")
}

/// Reads the advertisement; in version 0 only up to the ref `wanted`.
async fn greet(remote: &mut Remote<'_>, wanted: Option<&str>) -> Result<Server, GitError> {
    let mut answer = remote.advertisement(MAX_REFS_BYTES).await?;
    let mut first = text_line(&answer.expect().await?)?;
    if first.starts_with("# service=git-upload-pack") {
        if answer.expect().await? != Packet::Flush {
            return Err(GitError::invalid("the git server's greeting is not in git's protocol"));
        }
        first = text_line(&answer.expect().await?)?;
    }
    if first == "version 2" {
        return capabilities(&mut answer).await;
    }
    if first == "version 1" {
        first = text_line(&answer.expect().await?)?;
    }
    let (mut reference, capabilities) = match first.split_once('\0') {
        Some((reference, capabilities)) => (reference.to_owned(), capabilities.to_owned()),
        None => return Err(GitError::invalid("the git server's greeting is not in git's protocol")),
    };
    sha1_only(capabilities.split(' ').any(|word| word.starts_with("object-format=") && word != "object-format=sha1"))?;
    let Some(wanted) = wanted else { return Ok(Server::Zero { capabilities, found: None }) };
    loop {
        if let Some((id, name)) = reference.split_once(' ')
            && name == wanted
        {
            return Ok(Server::Zero { capabilities, found: Some(validate_id(id)?) });
        }
        match answer.expect().await? {
            packet @ Packet::Data(_) => reference = text_line(&packet)?,
            _ => return Ok(Server::Zero { capabilities, found: None }),
        }
    }
}

/// Reads the capabilities of version 2; two of them matter.
async fn capabilities(answer: &mut PacketReader<'_>) -> Result<Server, GitError> {
    let mut has_shallow = false;
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { return Ok(Server::Two { has_shallow }) };
        let capability = text_line(&packet)?;
        let (name, value) = capability.split_once('=').unwrap_or((&capability, ""));
        has_shallow |= name == "fetch" && value.split(' ').any(|feature| feature == "shallow");
        sha1_only(name == "object-format" && value != "sha1")?;
    }
}

fn sha1_only(is_other: bool) -> Result<(), GitError> {
    if is_other {
        return Err(GitError::invalid("the repository's ids are not SHA-1, which is not supported"));
    }
    Ok(())
}

/// Looks up the single ref `wanted` with version 2's `ls-refs`.
async fn find_ref(remote: &mut Remote<'_>, wanted: &str) -> Result<Option<String>, GitError> {
    let mut request = String::new();
    line(&mut request, "command=ls-refs\n");
    request.push_str("0001");
    // The server matches this as a prefix, so it may send other refs too.
    line(&mut request, &format!("ref-prefix {wanted}\n"));
    request.push_str("0000");
    let mut answer = remote.upload_pack(request, MAX_REFS_BYTES).await?;
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { return Ok(None) };
        let reference = text_line(&packet)?;
        let mut words = reference.split(' ');
        if let (Some(id), Some(name)) = (words.next(), words.next())
            && name == wanted
        {
            return Ok(Some(validate_id(id)?));
        }
    }
}

fn request_two(id: &str) -> String {
    let mut request = String::new();
    line(&mut request, "command=fetch");
    request.push_str("0001");
    for argument in ["no-progress", "ofs-delta", "deepen 1", &format!("want {id}\n"), "done\n"] {
        line(&mut request, argument);
    }
    request.push_str("0000");
    request
}

fn request_zero(id: &str, capabilities: &str) -> Result<String, GitError> {
    let has = |wanted: &str| capabilities.split(' ').any(|word| word == wanted);
    if !has("shallow") {
        return Err(shallow_unsupported());
    }
    if !has("side-band-64k") {
        return Err(GitError::invalid("the git server cannot report errors while it sends (\"side-band-64k\")"));
    }
    let more: Vec<&str> = ["ofs-delta", "no-progress"].into_iter().filter(|word| has(word)).collect();
    let mut request = String::new();
    line(&mut request, &format!("want {id} side-band-64k shallow {}\n", more.join(" ")));
    line(&mut request, "deepen 1");
    request.push_str("0000");
    line(&mut request, "done\n");
    Ok(request)
}

/// Reads up to the start of the pack, then the pack.
async fn receive(
    answer: &mut PacketReader<'_>,
    revision: &Revision,
    is_two: bool,
    pack: &mut impl Write,
) -> Result<(), GitError> {
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { continue };
        let line = text_line(&packet).map_err(|error| missing_commit(error, revision))?;
        // In version 0 a lone "NAK" marks the start of the pack: client and server have no common commits.
        if line == (if is_two { "packfile" } else { "NAK" }) {
            break;
        }
    }
    loop {
        // Without the final flush packet the response was cut off.
        let Packet::Data(content) = answer.expect().await? else { return Ok(()) };
        match content.split_first() {
            Some((1, data)) => pack.write_all(data).map_err(|error| of_pack(&error))?,
            // Progress, or an empty packet as a keep-alive.
            Some((2, _)) | None => {}
            Some((3, message)) => return Err(missing_commit(server_error(message), revision)),
            Some(_) => return Err(GitError::invalid("the git server's answer is not in git's protocol")),
        }
    }
}

/// Unwraps the indexer's error from the I/O error of the `Write` trait.
pub(super) fn of_pack(error: &std::io::Error) -> GitError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<git2::Error>()) {
        Some(error) => GitError::of_objects(error),
        None => GitError::of_file(error),
    }
}

/// Returns a content packet as a line, or the server's error message as an error.
fn text_line(packet: &Packet) -> Result<String, GitError> {
    let Packet::Data(content) = packet else {
        return Err(GitError::invalid("the git server's answer is not in git's protocol"));
    };
    if let Some(message) = content.strip_prefix(b"ERR ") {
        return Err(server_error(message));
    }
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    // Names of refs need not be UTF-8; such a name cannot be the requested one.
    Ok(String::from_utf8_lossy(content).into_owned())
}

fn server_error(message: &[u8]) -> GitError {
    let message = String::from_utf8_lossy(message);
    let message: String = message.trim().chars().filter(|c| !c.is_control()).collect();
    GitError::invalid(format!("the git server says: {}", text::cut(&message, MAX_REMARK_CHARS)))
}

/// Git has no error code for a commit that a server does not have or does not serve; all servers use git's own texts.
fn missing_commit(error: GitError, revision: &Revision) -> GitError {
    let is_missing = ["not our ref", "unadvertised object", "no such object"].iter().any(|w| error.message.contains(w));
    match revision {
        Revision::Commit(_) if is_missing => not_found(revision),
        _ => error,
    }
}

fn validate_id(id: &str) -> Result<String, GitError> {
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_id { Ok(id.to_owned()) } else { Err(GitError::invalid("the git server's answer is not in git's protocol")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_missing_commit() {
        let id = "0123456789012345678901234567890123456789".to_owned();
        let line = || server_error(b"upload-pack: not our ref 0123456789012345678901234567890123456789\n");
        assert_eq!(missing_commit(line(), &Revision::Commit(id)).kind, GitErrorKind::CommitNotFound);
        assert_eq!(missing_commit(line(), &Revision::Branch("main".into())).kind, GitErrorKind::Invalid);
    }

    #[test]
    fn server_message_is_one_short_line() {
        let line = text_line(&Packet::Data("ERR \x1b[31mno\nway".into())).unwrap_err();
        assert_eq!(line.message, "the git server says: [31mnoway");
        assert!(server_error(&b"x".repeat(60_000)).message.len() < 400);
    }
}
