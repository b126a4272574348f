//! The machine's git configuration, umask and environment do not affect a fetch.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use panda::clients::git::{FetchRequest, Git, GitLimits};
use panda::domain::source::Revision;
use tokio_util::sync::CancellationToken;

use super::git::names;
use crate::support::git_server::GitServer;

/// Configuration that, if read, would lead to another source or to none.
const CONFIGURATION: &str = "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = http://127.0.0.1\n[core]\n\tautocrlf = true\n\teol = crlf\n\
    \tattributesFile = /nowhere\n\tfileMode = false\n\tsymlinks = false\n[http]\n\tproxy = http://127.0.0.1:1\n\
    [filter \"lfs\"]\n\tsmudge = touch smudged\n\trequired = true\n[safe]\n\tdirectory = /nowhere\n[init]\n\ttemplateDir = /\n";

/// A program that runs `machine` and then becomes the fetch child, which inherits its state.
pub fn program(folder: &Path, machine: &str) -> PathBuf {
    let (path, panda) = (folder.join("machine.sh"), env!("CARGO_BIN_EXE_panda"));
    let script = format!("#!/bin/sh\nset -e\nPATH=/usr/bin:/bin:/usr/sbin:/sbin\n{machine}\nexec {panda} \"$@\"\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn server() -> GitServer {
    let server = GitServer::start().await;
    server.commit_objects("main", |repository, tree| {
        let file = |bytes: &[u8]| repository.blob(bytes).unwrap();
        tree.insert("run.sh", file(b"#!/bin/sh\necho hi\n"), 0o100_755).unwrap();
        tree.insert("dos.txt", file(b"one\r\ntwo\r\n"), 0o100_644).unwrap();
        tree.insert("link", file(b"run.sh"), 0o120_000).unwrap();
        let attributes = b"* text=auto eol=crlf ident\n*.txt eol=lf\n*.sh filter=lfs working-tree-encoding=UTF-16\n";
        tree.insert(".gitattributes", file(attributes), 0o100_644).unwrap();
        let mut sub = repository.treebuilder(None).unwrap();
        sub.insert("id.c", file(b"$Id$\n"), 0o100_644).unwrap();
        tree.insert("sub", sub.write().unwrap(), 0o040_000).unwrap();
    });
    server
}

/// Fetches on a machine that runs `machine` first, and compares bytes and modes with the commit.
async fn assert_same_on(machine: &str) {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("workspaces/source");
    let url = server.repository("public/shop.git");
    let revision = Revision::Branch("main".to_owned());
    let git = Git::new(GitLimits::default()).with_program(Some(program(folder.path(), machine)));
    let request = FetchRequest { url: &url, revision: &revision, token: None, into: &into };
    git.fetch(request, CancellationToken::new()).await.unwrap();
    assert_eq!(names(&into), [".gitattributes", "dos.txt", "link", "run.sh", "sub"]);
    assert_eq!(fs::read_to_string(into.join("run.sh")).unwrap(), "#!/bin/sh\necho hi\n");
    assert_eq!(fs::read_to_string(into.join("dos.txt")).unwrap(), "one\r\ntwo\r\n");
    assert_eq!(fs::read_to_string(into.join("sub/id.c")).unwrap(), "$Id$\n");
    assert_eq!(fs::read_link(into.join("link")).unwrap(), Path::new("run.sh"));
    let mode = |path: &str| fs::symlink_metadata(into.join(path)).unwrap().mode() & 0o7777;
    let modes = ["run.sh", "dos.txt", "sub", "sub/id.c", ""].map(mode);
    assert_eq!(modes, [0o755, 0o644, 0o755, 0o644, 0o700], "{modes:?}");
}

#[tokio::test]
async fn git_machine__file_modes_ignore_umask() {
    for umask in ["077", "000", "777", "022"] {
        assert_same_on(&format!("umask {umask}")).await;
    }
}

#[tokio::test]
async fn git_machine__user_configuration_ignored() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("git")).unwrap();
    for file in [".gitconfig", "git/config"] {
        fs::write(home.path().join(file), CONFIGURATION).unwrap();
    }
    let home = home.path().display();
    assert_same_on(&format!(
        "export HOME={home} XDG_CONFIG_HOME={home} GIT_CONFIG_GLOBAL={home}/.gitconfig GIT_CONFIG_SYSTEM={home}/.gitconfig \
         GIT_DIR=/nowhere GIT_OBJECT_DIRECTORY=/nowhere GIT_SSL_NO_VERIFY=1 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.autocrlf GIT_CONFIG_VALUE_0=true"
    ))
    .await;
    // An invalid file is not read either.
    fs::write(Path::new(&home.to_string()).join(".gitconfig"), "[[[").unwrap();
    assert_same_on(&format!("export HOME={home}")).await;
}

#[tokio::test]
async fn git_machine__system_configuration_ignored() {
    let may = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("SKIPPED: no mount namespaces here, so /etc/gitconfig cannot be put in place");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (etc, inner) = (folder.path().join("etc"), folder.path().join("inner.sh"));
    fs::create_dir(&etc).unwrap();
    fs::copy("/etc/hosts", etc.join("hosts")).unwrap();
    fs::write(etc.join("gitconfig"), CONFIGURATION).unwrap();
    // Covers the whole folder, because /etc/gitconfig need not exist.
    let script = format!(
        "#!/bin/sh\nset -e\nmount --bind {} /etc\ntest -s /etc/gitconfig\nexec {} \"$@\"\n",
        etc.display(),
        env!("CARGO_BIN_EXE_panda")
    );
    fs::write(&inner, script).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
    assert_same_on(&format!("exec unshare -m {} \"$@\"", inner.display())).await;
}

#[tokio::test]
async fn git_machine__loopback_http_bypasses_proxy() {
    assert_same_on("export HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1 ALL_PROXY=http://127.0.0.1:1")
        .await;
}
