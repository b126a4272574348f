//! Files of a repository that a build may see, on a real engine that has `busybox:1`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use panda::clients::build::BuildError;
use panda::clients::build_context::ContextError;
use panda::clients::docker::{BuildLimits, BuildRequest, Docker};
use panda::clients::registry_credentials::Credentials;
use panda::domain::{build_spec::BuildOptions, builder::BuilderChoice};
use tokio::sync::mpsc;

use super::docker::{context, name};
use crate::builds::{Built, TestEngine, Wanted, build_folder};

const MTIME: i64 = 1_700_000_000;

/// Builds `dockerfile` of the repository `source` with the context folder `folder`.
async fn build_with(choice: BuilderChoice, source: &Path, folder: &str, dockerfile: &str) -> Built {
    let builder = TestEngine::usual().await.builder(choice);
    let wanted = Wanted { context: folder, dockerfile, ..Wanted::new("acme", &[]) };
    build_folder(&builder, wanted, source).await
}

/// The lines of a BuildKit build; the classic builder receives the same files.
async fn build(source: &Path, folder: &str, dockerfile: &str) -> Vec<String> {
    let classic = build_with(BuilderChoice::Classic, source, folder, dockerfile).await;
    let built = build_with(BuilderChoice::BuildKit, source, folder, dockerfile).await;
    built.output();
    classic.output();
    assert_eq!(has(&built.lines), has(&classic.lines));
    built.lines
}

/// Copies everything and lists it, with a unique mark, because a cached step prints nothing.
fn listing() -> String {
    format!("FROM busybox:1\nCOPY . /app\nRUN : {}; cd /app && find . | sort | sed 's/^/has /'\n", name())
}

fn has(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("has ./")).collect()
}

#[tokio::test]
async fn build_context__double_star_excludes_at_every_depth() {
    let dockerfile = listing();
    let folder = context(&[
        ("Dockerfile", &dockerfile),
        (".dockerignore", "**.env\n**~\n**_test.go\na**z\n**/*.key\n*.pem\n.dockerignore\nDockerfile\n"),
        (".env", ""),
        ("config/.env", ""),
        ("config/prod.env", ""),
        ("config/x_test.go", ""),
        ("config/notes~", ""),
        ("config/c.pem", ""),
        ("deep/er/x.env", ""),
        ("deep/er/k.key", ""),
        ("notes~", ""),
        ("aqz", ""),
        ("a/b/z", ""),
        ("a/keep", ""),
        ("abc/def/xz", ""),
        ("b_test.go", ""),
        ("prod.env", ""),
        ("root.key", ""),
        ("root.pem", ""),
    ]);
    let lines = build(folder.path(), "", "Dockerfile").await;
    let kept =
        ["a", "a/b", "a/keep", "abc", "abc/def", "abc/def/xz", "aqz", "config", "config/c.pem", "deep", "deep/er"];
    assert_eq!(has(&lines), kept);
}

#[tokio::test]
async fn build_context__ignore_file_beside_dockerfile_or_linked() {
    let dockerfile = listing();
    let folder = context(&[
        ("docker/Dockerfile", &dockerfile),
        ("docker/Dockerfile.dockerignore", "secrets/\n"),
        (".dockerignore", "other\n"),
        ("other/x", ""),
        ("secrets/key.pem", "hush"),
    ]);
    let lines = build(folder.path(), "", "docker/Dockerfile").await;
    let kept = [".dockerignore", "docker", "docker/Dockerfile", "docker/Dockerfile.dockerignore", "other", "other/x"];
    assert_eq!(has(&lines), kept);

    let folder =
        context(&[("Dockerfile", &dockerfile), ("config/dockerignore", "secret.txt\n"), ("secret.txt", "hush")]);
    symlink("config/dockerignore", folder.path().join(".dockerignore")).unwrap();
    let lines = build(folder.path(), "", "Dockerfile").await;
    assert_eq!(has(&lines), [".dockerignore", "Dockerfile", "config", "config/dockerignore"]);
    fs::remove_file(folder.path().join(".dockerignore")).unwrap();
    symlink("/etc/dockerignore", folder.path().join(".dockerignore")).unwrap();
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let built = build_with(choice, folder.path(), "", "Dockerfile").await;
        let Err(BuildError::Context(error @ ContextError::IgnoreFile(_))) = built.result else { panic!("{built:?}") };
        assert!(error.to_string().contains("`.dockerignore`"), "{error}");
    }
}

#[tokio::test]
async fn build_context__chosen_folder() {
    let dockerfile = "FROM busybox:1\nCOPY package.json /p\nRUN cat /p\n";
    let folder =
        context(&[("backend/Dockerfile", dockerfile), ("backend/package.json", &name()), ("package.json", &name())]);
    let text = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    assert!(build(folder.path(), "", "backend/Dockerfile").await.contains(&text("package.json")));
    assert!(build(folder.path(), "backend", "backend/Dockerfile").await.contains(&text("backend/package.json")));
}

#[tokio::test]
async fn build_context__outside_or_excluded_dockerfile_built_not_copied() {
    let dockerfile = listing();
    let folder = context(&[("docker/Dockerfile", &dockerfile), ("app/x", ""), ("app/y", "")]);
    let lines = build(folder.path(), "app", "docker/Dockerfile").await;
    assert_eq!(has(&lines), ["x", "y"]);
    fs::write(folder.path().join("app/.dockerignore"), "y").unwrap();
    let lines = build(folder.path(), "app", "docker/Dockerfile").await;
    assert_eq!(has(&lines), [".dockerignore", "x"]);
    fs::write(folder.path().join(".dockerignore"), "docker\n.dockerignore\napp/.dockerignore\n").unwrap();
    let lines = build(folder.path(), "", "docker/Dockerfile").await;
    assert_eq!(has(&lines), ["app", "app/x", "app/y"]);
    fs::write(folder.path().join("docker/Dockerfile.dockerignore"), "docker\napp/y\napp/.dockerignore").unwrap();
    // The classic engine itself also hides these two when the root's ignore file excludes them.
    let built = build_with(BuilderChoice::BuildKit, folder.path(), "", "docker/Dockerfile").await;
    built.output();
    assert_eq!(has(&built.lines), [".dockerignore", "app", "app/x"]);
}

#[tokio::test]
async fn build_context__linked_dockerfile_resolved() {
    let dockerfile = listing();
    let example = "FROM busybox:1\nRUN echo THIS-IS-THE-EXAMPLE\n";
    let folder = context(&[("deploy/prod.Dockerfile", &dockerfile), ("examples/hello/Dockerfile", example)]);
    symlink("deploy/prod.Dockerfile", folder.path().join("Dockerfile")).unwrap();
    let lines = build(folder.path(), "", "Dockerfile").await;
    assert!(has(&lines).contains(&"examples/hello/Dockerfile"), "{lines:#?}");
}

#[tokio::test]
async fn build_context__umask_and_checkout_time_ignored() {
    let dockerfile = format!(
        "FROM busybox:1\nCOPY . /app\nUSER 65534\nRUN : {}; cd /app && for f in README.md sub sub/x sub/run.sh; do stat -c '%a %Y %u %n' $f; done && cat README.md\n",
        name()
    );
    let files = [("Dockerfile", dockerfile.as_str()), ("README.md", "read me"), ("sub/run.sh", ""), ("sub/x", "")];
    let mut cached = Vec::new();
    for umask in [0o077_u32, 0o022, 0o002] {
        let folder = context(&files);
        for (path, mode) in
            [("Dockerfile", 0o666), ("README.md", 0o666), ("sub", 0o777), ("sub/run.sh", 0o777), ("sub/x", 0o666)]
        {
            let mode = fs::Permissions::from_mode(mode & !umask);
            fs::set_permissions(folder.path().join(path), mode).unwrap();
        }
        let built = build_with(BuilderChoice::BuildKit, folder.path(), "", "Dockerfile").await;
        built.output();
        let lines = &built.lines;
        cached.push(built.was_cached("COPY") && built.was_cached("RUN"));
        if cached.len() == 1 {
            for line in ["644 {t} 0 README.md", "644 {t} 0 sub/x", "755 {t} 0 sub/run.sh"] {
                let line = line.replace("{t}", &MTIME.to_string());
                assert!(lines.contains(&line), "{line}: {lines:#?}");
            }
            // COPY of older BuildKit sets the time of folders to that of the build.
            let is_folder = |line: &String| line.starts_with("755 ") && line.ends_with(" 0 sub");
            assert!(lines.iter().any(is_folder), "{lines:#?}");
        }
    }
    assert_eq!(cached, [false, true, true], "the builder treats both as equal");
}

/// Some engine built each of these successfully but wrongly, or refused it with an obscure message.
#[tokio::test]
async fn build_context__buildkit_dockerfile_refused_early() {
    let unreachable = tempfile::tempdir().unwrap();
    let unreachable = Docker::connect(Some(&format!("unix://{}/docker.sock", unreachable.path().display()))).unwrap();
    for (text, line, what) in [
        ("FROM busybox:1\nRUN cat > /run.sh <<'XX'\n#!/bin/sh\nXX\n", 2, "<<XX"),
        ("FROM busybox:1\nRUN <<XX\nmkdir -p /www\nXX\n", 2, "<<XX"),
        ("FROM busybox:1\nCOPY <<XX /etc/app.conf\nanswer=42\nXX\n", 2, "<<XX"),
        ("FROM busybox:1\n\nRUN cat <<'XX' > /conf && echo made\nUSER root\nXX\n", 3, "<<XX"),
        ("FROM busybox:1\nRUN --mount=type=cache,target=/root/.cache true\n", 2, "--mount"),
        ("FROM busybox:1\nRUN --mount=type=secret,id=npm cat /run/secrets/npm\n", 2, "--mount"),
        ("FROM busybox:1\nCOPY --chmod=755 a /a\n", 2, "--chmod"),
        ("FROM busybox:1\nCOPY --link a /a\n", 2, "--link"),
        ("FROM --platform=$BUILDPLATFORM busybox:1\nRUN true\n", 1, "$BUILDPLATFORM"),
        ("FROM busybox:1\nARG TARGETARCH\nRUN echo $TARGETARCH\n", 2, "TARGETARCH"),
        ("# syntax=docker/dockerfile:1.7\nFROM busybox:1\n", 1, "# syntax"),
        ("FROM busybox:1\nRUN --network=none echo offline\n", 2, "--network"),
        ("FROM busybox:1\nADD http://127.0.0.1:1/t/b01.git /src\n", 2, "git repository"),
        ("FROM busybox:1\nADD --checksum=sha256:00 http://127.0.0.1:1/tool.bin /t\n", 2, "--checksum"),
        ("FROM busybox:1 AS test\nRUN exit 3\nFROM busybox:1\n", 1, "stage `test`"),
        ("FROM deadbeef\n", 1, "deadbeef"),
    ] {
        let folder = context(&[("Dockerfile", text), ("a", "")]);
        let request = BuildRequest {
            source: folder.path(),
            context: Path::new(""),
            dockerfile: Path::new("Dockerfile"),
            committed_at: None,
            tag: &name(),
            labels: &BTreeMap::new(),
            options: &BuildOptions::default(),
            own_args: &BTreeMap::new(),
            credentials: &Credentials::default(),
            network: None,
            limits: BuildLimits::default(),
        };
        let built = unreachable.build(request, mpsc::channel(1).0).await;
        let Err(error @ BuildError::Unsupported(_)) = built else { panic!("{text}: {built:?}") };
        let said = error.to_string();
        assert!(said.starts_with(&format!("line {line}: ")) && said.contains(what), "{text}: {said}");
    }
}
