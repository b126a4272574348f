use super::*;
use std::{fs, os::unix::fs::symlink};

use tempfile::TempDir;

/// Creates a tree from `path` (files), `path -> target` (links) and `path/` (folders).
fn tree(entries: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in entries {
        let (path, target) = entry.split_once(" -> ").unwrap_or((entry, ""));
        let full = folder.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        if !target.is_empty() {
            symlink(target, full).unwrap();
        } else if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::write(full, "FROM scratch\n").unwrap();
        }
    }
    folder
}

/// Returns `path` or `path -> target` of the Dockerfile found, or the error in one line.
fn found(entries: &[&str], requested: Option<&str>) -> String {
    let folder = tree(entries);
    match find_dockerfile(folder.path(), requested) {
        Ok(found) if found.path == found.target => found.path.display().to_string(),
        Ok(found) => format!("{} -> {}", found.path.display(), found.target.display()),
        Err(DockerfileError::NotFound(message)) => format!("not found: {message}"),
        Err(DockerfileError::Unusable(error)) => format!("unusable: {error}"),
        Err(DockerfileError::Ambiguous(candidates)) => format!("ambiguous: {candidates}"),
        Err(DockerfileError::Unreadable(message)) => format!("unreadable: {message}"),
    }
}

#[test]
fn prefers_dockerfile_at_root() {
    assert_eq!(found(&["Dockerfile", "a/Dockerfile", "Dockerfile.dev"], None), "Dockerfile");
    assert_eq!(found(&["dockerfile", "a/Dockerfile"], None), "dockerfile", "the fallback of docker build");
    assert_eq!(found(&["Dockerfile", "dockerfile"], None), "Dockerfile");
}

#[test]
fn follows_links_inside_the_repository() {
    let example = "examples/hello/Dockerfile";
    assert_eq!(
        found(&["Dockerfile -> deploy/prod.Dockerfile", "deploy/prod.Dockerfile", example], None),
        "Dockerfile -> deploy/prod.Dockerfile"
    );
    assert_eq!(found(&["Dockerfile -> one", "one -> two", "two", example], None), "Dockerfile -> two");
    assert_eq!(found(&["Dockerfile -> d/x", "d -> real", "real/x", example], None), "Dockerfile -> real/x");
    assert_eq!(found(&["Dockerfile -> a/../x", "a/b", "x"], None), "Dockerfile -> x");
}

#[test]
fn unusable_root_dockerfile_is_an_error() {
    let example = "examples/hello/Dockerfile";
    for (entry, reason) in [
        ("Dockerfile -> missing", "does not exist"),
        ("Dockerfile -> Dockerfile", "circle"),
        ("Dockerfile -> /etc/passwd", "out of the repository"),
        ("Dockerfile -> ../outside", "link"),
        ("Dockerfile -> examples", "is a folder"),
        ("Dockerfile -> /dev/null", "out of the repository"),
        ("Dockerfile/readme", "is a folder"),
        ("Dockerfile -> .git/config", "`.git`"),
    ] {
        let answer = found(&[entry, example, ".git/config"], None);
        assert!(answer.starts_with("unusable: `Dockerfile` ") && answer.contains(reason), "{entry}: {answer}");
    }
}

#[test]
fn accepts_single_candidate_below_root() {
    assert_eq!(found(&["backend/Dockerfile", "package.json"], None), "backend/Dockerfile");
    assert_eq!(found(&["a/b/dockerfile"], None), "a/b/dockerfile");
    assert_eq!(found(&["a/Dockerfile", "a/Dockerfile.dockerignore"], None), "a/Dockerfile");
    assert_eq!(found(&["a/Dockerfile -> ../b/x", "b/x"], None), "a/Dockerfile -> b/x");
    assert_eq!(found(&["a/b/Dockerfile", "z/Dockerfile"], None), "ambiguous: `a/b/Dockerfile`, `z/Dockerfile`");
    assert_eq!(
        found(&["docker/app.Dockerfile", "test/fixtures/Dockerfile"], None),
        "ambiguous: `docker/app.Dockerfile`, `test/fixtures/Dockerfile`"
    );
    assert_eq!(found(&["Dockerfile.prod", "x/Dockerfile"], None), "ambiguous: `Dockerfile.prod`, `x/Dockerfile`");
    assert_eq!(found(&["a.Dockerfile", "b.Dockerfile"], None), "ambiguous: `a.Dockerfile`, `b.Dockerfile`");
}

#[test]
fn bounds_and_escapes_candidate_list() {
    let paths: Vec<String> = (0..30).map(|n| format!("{}{n}\u{1b}[31m/Dockerfile", "n".repeat(200))).collect();
    let answer = found(&paths.iter().map(String::as_str).collect::<Vec<_>>(), None);
    assert!(answer.ends_with("and 20 more") && answer.len() < 2_000 && !answer.contains('\u{1b}'), "{answer}");
}

#[test]
fn not_found_names_the_closest_file() {
    assert!(found(&["README.md"], None).starts_with("not found: there is no file named `Dockerfile`"));
    assert!(found(&["DOCKERFILE"], None).contains("`DOCKERFILE`"));
    assert!(found(&["prod.Dockerfile"], None).contains("`prod.Dockerfile` must be named"));
    for entry in [".git/Dockerfile", "a/Dockerfile/readme", "MyDockerfile", "Dockerfiles", "up -> .."] {
        assert!(found(&[entry], None).starts_with("not found: "), "{entry}");
    }
}

#[test]
fn requested_path_is_used_or_refused() {
    let entries = ["Dockerfile", "docker/app.Dockerfile", "alias -> docker", "out -> /etc"];
    assert_eq!(found(&entries, Some("docker/app.Dockerfile")), "docker/app.Dockerfile");
    assert_eq!(found(&entries, Some("./docker/./app.Dockerfile")), "docker/app.Dockerfile");
    assert_eq!(found(&entries, Some("alias/app.Dockerfile")), "alias/app.Dockerfile -> docker/app.Dockerfile");
    for path in
        ["nope", "docker", "../Dockerfile", "/etc/passwd", "out/passwd", "docker/../Dockerfile", ".", "", ".git/x"]
    {
        let answer = found(&entries, Some(path));
        assert!(answer.starts_with("unusable: "), "{path}: {answer}");
    }
}

#[test]
fn missing_tree_is_an_error() {
    assert!(matches!(find_dockerfile(Path::new("/nowhere/at/all"), None), Err(DockerfileError::Unreadable(_))));
}
