use super::*;
use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use chrono::{DateTime, Utc};

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        put(folder.path(), path, text);
    }
    folder
}

fn open(root: &Path, folder: &str, dockerfile: &str) -> Result<BuildContext, ContextError> {
    BuildContext::open(root, Path::new(folder), Path::new(dockerfile), Descent::BuildKit)
}

fn time() -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(1_700_000_000, 0)
}

fn tar_of(context: &BuildContext) -> Vec<u8> {
    let mut bytes = Vec::new();
    context.write_tar(&mut bytes, time()).unwrap();
    bytes
}

/// Maps each path to its mode and its link target or text.
fn packed(context: &BuildContext) -> BTreeMap<String, (u32, String)> {
    let bytes = tar_of(context);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1_700_000_000));
        assert!(header.username_bytes().is_none_or(<[u8]>::is_empty));
        (path, (header.mode().unwrap(), link.unwrap_or(text)))
    });
    entries.collect()
}

fn names(context: &BuildContext) -> Vec<String> {
    packed(context).into_keys().collect()
}

#[test]
fn uses_git_modes_and_keeps_links() {
    let folder = tree(&[("Dockerfile", "FROM scratch"), ("run.sh", "#!/bin/sh"), ("loose", ""), ("sub/x", "")]);
    let root = folder.path();
    let mode = |path: &str, mode| fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("run.sh", 0o700);
    mode("loose", 0o666);
    mode("sub", 0o700);
    symlink("/etc/passwd", root.join("outside")).unwrap();
    symlink("/etc", root.join("folder")).unwrap();
    let name = format!("deep/{}.txt", "n".repeat(180));
    put(root, &name, "long");
    let packed = packed(&open(root, "", "Dockerfile").unwrap());
    assert_eq!(packed["run.sh"], (0o755, "#!/bin/sh".into()));
    assert_eq!(packed["loose"].0, 0o644);
    assert_eq!(packed["sub"].0, 0o755);
    assert_eq!(packed["outside"], (0o777, "/etc/passwd".into()));
    assert_eq!(packed["folder"].1, "/etc");
    assert_eq!(packed[&name].1, "long");
    assert!(!packed.keys().any(|path| path.starts_with("folder/")));
}

#[test]
fn stream_depends_on_commit_alone() {
    let streams: Vec<Vec<u8>> = [0o022_u32, 0o077, 0o002]
        .into_iter()
        .map(|umask| {
            let folder = tree(&[("Dockerfile", "FROM scratch"), ("a/run.sh", "x"), ("a/b/c", "y"), ("z", "")]);
            for (path, mode) in
                [("Dockerfile", 0o666), ("a/run.sh", 0o777), ("a", 0o777), ("a/b", 0o777), ("a/b/c", 0o666)]
            {
                let mode = fs::Permissions::from_mode(mode & !umask);
                fs::set_permissions(folder.path().join(path), mode).unwrap();
            }
            symlink("z", folder.path().join("link")).unwrap();
            tar_of(&open(folder.path(), "", "Dockerfile").unwrap())
        })
        .collect();
    assert!(streams[0] == streams[1] && streams[0] == streams[2]);
}

#[test]
fn excludes_git_and_ignored_files() {
    let folder = tree(&[
        (".git/config", ""),
        ("sub/.git", ""),
        ("sub/x", ""),
        ("target/x", ""),
        ("keep/a", ""),
        ("keep/b", ""),
        ("Dockerfile", "FROM scratch"),
        (".dockerignore", "target\nkeep\n!keep/a\n"),
    ]);
    let context = open(folder.path(), "", "Dockerfile").unwrap();
    assert_eq!(names(&context), [".dockerignore", "Dockerfile", "keep", "keep/a", "sub", "sub/x"]);
    assert_eq!(context.ignore_file(), Some(Path::new(".dockerignore")));
}

#[test]
fn finds_exceptions_below_excluded_folders() {
    let folder =
        tree(&[("a/b/x.go", ""), ("a/y", ""), ("c/z", ""), ("Dockerfile", ""), (".dockerignore", "*\n!**/*.go")]);
    for (descent, sent) in [(Descent::BuildKit, vec!["a", "a/b", "a/b/x.go"]), (Descent::Classic, vec![])] {
        let context = BuildContext::open(folder.path(), Path::new(""), Path::new("Dockerfile"), descent).unwrap();
        let paths = context.entries().map(|entry| entry.unwrap().path.display().to_string());
        assert_eq!(paths.collect::<Vec<_>>(), sent, "{descent:?}");
    }
}

#[test]
fn prefers_ignore_file_of_dockerfile() {
    let files =
        [("docker/Dockerfile", "FROM scratch"), ("secrets/key", ""), ("other/key", ""), (".dockerignore", "other")];
    let folder = tree(&files);
    let dirs = |context: &BuildContext| -> Vec<String> {
        names(context).into_iter().filter(|name| !name.contains('/') && !name.starts_with('.')).collect()
    };
    let context = open(folder.path(), "", "docker/Dockerfile").unwrap();
    assert_eq!(dirs(&context), ["docker", "secrets"]);
    put(folder.path(), "docker/Dockerfile.dockerignore", "secrets/\n");
    let context = open(folder.path(), "", "docker/Dockerfile").unwrap();
    assert_eq!(dirs(&context), ["docker", "other"]);
    assert_eq!(context.ignore_file(), Some(Path::new("docker/Dockerfile.dockerignore")));
    // For a Dockerfile that is a link, `docker build` prefers the ignore file beside the link over the one beside its target.
    symlink("docker/Dockerfile", folder.path().join("Dockerfile")).unwrap();
    assert_eq!(dirs(&open(folder.path(), "", "Dockerfile").unwrap()), ["Dockerfile", "docker", "other"]);
    put(folder.path(), "Dockerfile.dockerignore", "docker\n");
    let context = open(folder.path(), "", "Dockerfile").unwrap();
    assert_eq!(dirs(&context), ["Dockerfile", "Dockerfile.dockerignore", "other", "secrets"]);
}

#[test]
fn uses_ignore_file_of_context_folder() {
    let folder = tree(&[
        ("backend/Dockerfile", "FROM scratch"),
        ("backend/.dockerignore", "secret"),
        ("backend/secret", ""),
        ("backend/package.json", "backend"),
        (".dockerignore", "backend"),
        ("package.json", "root"),
    ]);
    let context = open(folder.path(), "backend", "backend/Dockerfile").unwrap();
    assert_eq!(names(&context), [".dockerignore", "Dockerfile", "package.json"]);
    assert_eq!(packed(&context)["package.json"].1, "backend");
    assert_eq!(context.dockerfile_name(), Path::new("Dockerfile"));
}

#[test]
fn follows_ignore_file_link_inside_repository() {
    let folder = tree(&[("Dockerfile", ""), ("config/dockerignore", "secret.txt"), ("secret.txt", ""), ("a/b", "")]);
    let link = folder.path().join(".dockerignore");
    symlink("config/dockerignore", &link).unwrap();
    let context = open(folder.path(), "", "Dockerfile").unwrap();
    assert!(!names(&context).contains(&"secret.txt".into()));
    for target in ["/etc/hosts", "../outside", "missing", ".dockerignore", "a", "/dev/zero", ".git/config"] {
        fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        let error = open(folder.path(), "", "Dockerfile").unwrap_err();
        assert!(
            matches!(error, ContextError::IgnoreFile(_)) && error.to_string().contains("`.dockerignore`"),
            "{error}"
        );
    }
}

#[test]
fn unusable_ignore_file_is_an_error() {
    let folder = tree(&[("Dockerfile", "")]);
    fs::create_dir(folder.path().join(".dockerignore")).unwrap();
    let error = open(folder.path(), "", "Dockerfile").unwrap_err();
    assert!(error.to_string().contains("`.dockerignore` is a folder"), "{error}");
    fs::remove_dir(folder.path().join(".dockerignore")).unwrap();
    for (text, reason) in [
        (b"*\n".repeat(40_000), "larger than"),
        (b"a\n".repeat(2_000), "more than 1000 patterns"),
        (b"ok\n[a".to_vec(), "line 2: the pattern `[a`"),
        (b"ok\n\xff".to_vec(), "line 2 is not UTF-8"),
        (b"!".to_vec(), "line 1"),
    ] {
        fs::write(folder.path().join(".dockerignore"), text).unwrap();
        let error = open(folder.path(), "", "Dockerfile").unwrap_err();
        assert!(error.to_string().contains("`.dockerignore`") && error.to_string().contains(reason), "{error}");
        // Applies to the ignore file of the Dockerfile as well, even though the folder's would be usable.
        fs::rename(folder.path().join(".dockerignore"), folder.path().join("Dockerfile.dockerignore")).unwrap();
        fs::write(folder.path().join(".dockerignore"), "").unwrap();
        let error = open(folder.path(), "", "Dockerfile").unwrap_err();
        assert!(error.to_string().contains("`Dockerfile.dockerignore`"), "{error}");
        fs::remove_file(folder.path().join("Dockerfile.dockerignore")).unwrap();
    }
}

#[test]
fn hidden_dockerfile_gets_another_name() {
    let folder =
        tree(&[("docker/Dockerfile", "FROM scratch"), ("app/x", ""), ("app/.dockerignore", "y"), ("all/x", "")]);
    let root = folder.path();
    // The Dockerfile lies outside the context folder.
    let context = open(root, "app", "docker/Dockerfile").unwrap();
    let name = context.dockerfile_name().display().to_string();
    let sent = packed(&context);
    assert!(name.starts_with(".dockerfile.") && sent[&name].1 == "FROM scratch", "{name}");
    assert_eq!(sent[".dockerignore"].1, format!("y\n{name}\n"));
    let sent = packed(&open(root, "all", "docker/Dockerfile").unwrap());
    assert_eq!(sent[".dockerignore"].1, format!(".dockerignore\n{name}\n"));
    // The Dockerfile is excluded.
    put(root, ".dockerignore", "docker\n.dockerignore\n");
    let context = open(root, "", "docker/Dockerfile").unwrap();
    let paths: Vec<String> = context.entries().map(|entry| entry.unwrap().path.display().to_string()).collect();
    assert_eq!(paths, ["all", "all/x", "app", "app/.dockerignore", "app/x"]);
    assert!(packed(&context).contains_key(&name));
    // An existing file of the generated name is not overwritten.
    put(root, &name, "mine");
    let context = open(root, "", "docker/Dockerfile").unwrap();
    assert_ne!(context.dockerfile_name().display().to_string(), name);
    assert_eq!(packed(&context)[&name].1, "mine");
}

#[test]
fn refuses_paths_outside_or_missing() {
    let (folder, outside) =
        (tree(&[("inside/Dockerfile", "FROM scratch"), ("folder.d/readme", "")]), tree(&[("Dockerfile", "")]));
    let root = folder.path();
    symlink(outside.path().join("Dockerfile"), root.join("linked")).unwrap();
    symlink(outside.path(), root.join("up")).unwrap();
    symlink("inside", root.join("alias")).unwrap();
    symlink("/dev/zero", root.join("endless")).unwrap();
    let paths = include_str!("../../../tests/it/hostile_inputs/dockerfile_paths.txt");
    for dockerfile in paths.lines().filter(|line| !line.starts_with('#')) {
        let error = open(root, "", dockerfile).unwrap_err();
        assert!(matches!(error, ContextError::Dockerfile(_)), "{dockerfile}: {error}");
    }
    assert!(open(root, "", "inside/Dockerfile").is_ok() && open(root, ".", "alias/Dockerfile").is_ok());
    for path in ["..", "/", "/etc", "up", "alias", "inside/..", "nope", "inside/Dockerfile", ".git"] {
        let error = open(root, path, "inside/Dockerfile").unwrap_err();
        assert!(matches!(error, ContextError::Folder(_)), "{path}: {error}");
    }
    put(root, "large", &"#".repeat(1 << 21));
    assert!(open(root, "", "large").unwrap_err().to_string().contains("`large` is larger than"));
}

#[test]
fn shrinking_file_breaks_the_stream() {
    let folder = tree(&[("Dockerfile", ""), ("file", "long enough")]);
    let context = open(folder.path(), "", "Dockerfile").unwrap();
    let entry = context.entries().map(Result::unwrap).find(|entry| entry.path == Path::new("file")).unwrap();
    fs::remove_file(folder.path().join("file")).unwrap();
    symlink("/etc/passwd", folder.path().join("file")).unwrap();
    assert!(entry.open().is_err());
}
