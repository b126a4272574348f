//! The conversation: which commit a branch or tag is, and the pack with this one commit. Protocol version 2; servers that answer with the
//! version before are understood.

use std::io::Write;

use super::http::{Answer, Remote};
use super::pkt::{Packet, line};
use super::{GitError, GitErrorKind};
use crate::clients::error::cut;
use crate::domain::source::Revision;

/// Most bytes of a list of refs: the largest repositories that are known have about 50 MB, sent only by old servers.
const MOST_REFS: usize = 64 << 20;
const ID_DIGITS: usize = 40;
/// Longest message of a server that is repeated.
const LONGEST_REMARK: usize = 300;

/// The server's protocol, and what it says that it can do.
enum Server {
    Two {
        has_shallow: bool,
    },
    /// The capabilities, and the ref that was looked for.
    Zero {
        capabilities: String,
        found: Option<String>,
    },
}

/// Fetches `revision`'s commit without its history: the pack is written to `pack`. The id is that of the commit or of the annotated tag
/// that leads to it.
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
        (_, Some(name), Server::Two { .. }) => find(remote, name).await?,
        (_, None, Server::Two { .. }) => None,
    };
    let id = id.ok_or_else(|| not_found(revision))?;
    let request = match &server {
        Server::Two { has_shallow: false } => return Err(no_shallow()),
        Server::Two { .. } => request_two(&id),
        Server::Zero { capabilities, .. } => request_zero(&id, capabilities)?,
    };
    let mut answer = remote.upload_pack(request, max_bytes).await?;
    receive(&mut answer, revision, matches!(server, Server::Two { .. }), pack).await?;
    Ok(id)
}

/// The error for a revision that is not there.
pub(super) fn not_found(revision: &Revision) -> GitError {
    let (kind, what) = match revision {
        Revision::Branch(name) => (GitErrorKind::BranchNotFound, format!("branch {name:?}")),
        Revision::Tag(name) => (GitErrorKind::TagNotFound, format!("tag {name:?}")),
        Revision::Commit(id) => (GitErrorKind::CommitNotFound, format!("commit {id}")),
    };
    GitError::new(kind, format!("the repository has no {what}"))
}

fn no_shallow() -> GitError {
    GitError::invalid("the git server cannot send a commit without its history (\"shallow\")")
}

/// Reads the advertisement, in version 0 as far as the ref `wanted`.
async fn greet(remote: &mut Remote<'_>, wanted: Option<&str>) -> Result<Server, GitError> {
    let mut answer = remote.advertisement(MOST_REFS).await?;
    let mut first = text(&answer.expect().await?)?;
    if first.starts_with("# service=git-upload-pack") {
        if answer.expect().await? != Packet::Flush {
            return Err(GitError::invalid("the git server's greeting is not in git's protocol"));
        }
        first = text(&answer.expect().await?)?;
    }
    if first == "version 2" {
        return capabilities(&mut answer).await;
    }
    if first == "version 1" {
        first = text(&answer.expect().await?)?;
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
            return Ok(Server::Zero { capabilities, found: Some(checked(id)?) });
        }
        match answer.expect().await? {
            packet @ Packet::Data(_) => reference = text(&packet)?,
            _ => return Ok(Server::Zero { capabilities, found: None }),
        }
    }
}

/// Version 2's capabilities, of which two matter.
async fn capabilities(answer: &mut Answer<'_>) -> Result<Server, GitError> {
    let mut has_shallow = false;
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { return Ok(Server::Two { has_shallow }) };
        let capability = text(&packet)?;
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

/// Version 2's `ls-refs`, for the one ref `wanted`.
async fn find(remote: &mut Remote<'_>, wanted: &str) -> Result<Option<String>, GitError> {
    let mut request = String::new();
    line(&mut request, "command=ls-refs\n");
    request.push_str("0001");
    // A beginning: other refs may begin with it as well.
    line(&mut request, &format!("ref-prefix {wanted}\n"));
    request.push_str("0000");
    let mut answer = remote.upload_pack(request, MOST_REFS).await?;
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { return Ok(None) };
        let reference = text(&packet)?;
        let mut words = reference.split(' ');
        if let (Some(id), Some(name)) = (words.next(), words.next())
            && name == wanted
        {
            return Ok(Some(checked(id)?));
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
        return Err(no_shallow());
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

/// Reads up to the pack, and the pack.
async fn receive(
    answer: &mut Answer<'_>,
    revision: &Revision,
    is_two: bool,
    pack: &mut impl Write,
) -> Result<(), GitError> {
    loop {
        let packet = answer.expect().await?;
        let Packet::Data(_) = packet else { continue };
        let said = text(&packet).map_err(|error| missing_commit(error, revision))?;
        // Version 0 marks the begin of the pack by "NAK" alone: there is nothing that both sides have.
        if said == (if is_two { "packfile" } else { "NAK" }) {
            break;
        }
    }
    loop {
        // Without the flush at its end it broke off.
        let Packet::Data(content) = answer.expect().await? else { return Ok(()) };
        match content.split_first() {
            Some((1, data)) => pack.write_all(data).map_err(|error| of_pack(&error))?,
            // Progress, and an empty packet as a sign of life.
            Some((2, _)) | None => {}
            Some((3, message)) => return Err(missing_commit(remark(message), revision)),
            Some(_) => return Err(GitError::invalid("the git server's answer is not in git's protocol")),
        }
    }
}

/// The indexer's own error, which the trait hides.
pub(super) fn of_pack(error: &std::io::Error) -> GitError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<git2::Error>()) {
        Some(error) => GitError::of_objects(error),
        None => GitError::of_file(error),
    }
}

/// A content packet as a line; the server's own error as one of ours.
fn text(packet: &Packet) -> Result<String, GitError> {
    let Packet::Data(content) = packet else {
        return Err(GitError::invalid("the git server's answer is not in git's protocol"));
    };
    if let Some(message) = content.strip_prefix(b"ERR ") {
        return Err(remark(message));
    }
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    // Names of refs need not be text; one that is not is none that was asked for.
    Ok(String::from_utf8_lossy(content).into_owned())
}

fn remark(message: &[u8]) -> GitError {
    let message = String::from_utf8_lossy(message);
    let message: String = message.trim().chars().filter(|c| !c.is_control()).collect();
    GitError::invalid(format!("the git server says: {}", cut(&message, LONGEST_REMARK)))
}

/// Git has no code for a commit that a server does not have or does not give: only these words, which every server takes from git.
fn missing_commit(error: GitError, revision: &Revision) -> GitError {
    let is_missing = ["not our ref", "unadvertised object", "no such object"].iter().any(|w| error.message.contains(w));
    match revision {
        Revision::Commit(_) if is_missing => not_found(revision),
        _ => error,
    }
}

fn checked(id: &str) -> Result<String, GitError> {
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_id { Ok(id.to_owned()) } else { Err(GitError::invalid("the git server's answer is not in git's protocol")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_the_server_does_not_give_is_not_found() {
        let id = "0123456789012345678901234567890123456789".to_owned();
        let said = || remark(b"upload-pack: not our ref 0123456789012345678901234567890123456789\n");
        assert_eq!(missing_commit(said(), &Revision::Commit(id)).kind, GitErrorKind::CommitNotFound);
        assert_eq!(missing_commit(said(), &Revision::Branch("main".into())).kind, GitErrorKind::Invalid);
    }

    #[test]
    fn a_servers_words_are_one_line_and_short() {
        let said = text(&Packet::Data("ERR \x1b[31mno\nway".into())).unwrap_err();
        assert_eq!(said.message, "the git server says: [31mnoway");
        assert!(remark(&b"x".repeat(60_000)).message.len() < 400);
    }
}
