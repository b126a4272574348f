//! Tests that hold generated documents against the code, and write them with `PANDA_RENEW=1` (`make docs-renew`).

use std::path::{Path, PathBuf};

pub(super) fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a file with its generated text, or writes it with `PANDA_RENEW=1`.
pub(super) fn same_as_file(path: &Path, made: &str) {
    if std::env::var_os("PANDA_RENEW").is_some() {
        return std::fs::write(path, made).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    pretty_assertions::assert_eq!(kept, made, "{} is outdated: `make docs-renew` writes it", path.display());
}

/// Replaces what stands between the two markers.
pub(super) fn between_markers(path: &Path, begin: &str, end: &str, made: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    format!("{before}{begin}{made}{end}{after}")
}

#[test]
fn page_of_errors_has_every_code() {
    same_as_file(&in_repository("docs/errors.md"), &crate::http::error::documentation::page());
}

/// The document from which the clients are generated; `make clients` follows.
#[test]
fn document_of_clients_is_the_servers() {
    let mut made = serde_json::to_string_pretty(&crate::http::document()).unwrap();
    made.push('\n');
    same_as_file(&in_repository("clients/openapi.json"), &made);
}
