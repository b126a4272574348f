//! The view to which a sign-in leads. Only a path of this server: an address elsewhere would make Panda's sign-in a lure for another site's page.

use url::Url;

/// The view after a sign-in that names none.
pub(super) const MAIN_VIEW: &str = "/";

/// Longest path, in bytes. It is kept in a cookie during a sign-in with an issuer.
const MAX_PATH: usize = 1_024;

/// The path, if it is one of this server in the form in which browsers send it, else [`MAIN_VIEW`].
pub(super) fn local_path(next: Option<&str>) -> String {
    next.filter(|next| is_local(next)).unwrap_or(MAIN_VIEW).to_owned()
}

fn is_local(next: &str) -> bool {
    // Browsers drop tabs and line breaks, and read a backslash as a slash.
    let is_plain = next.len() <= MAX_PATH && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if !is_plain || !next.starts_with('/') || next.starts_with("//") {
        return false;
    }
    let Ok(url) = Url::parse("http://panda.invalid").and_then(|base| base.join(next)) else { return false };
    let path = next.split(['?', '#']).next().unwrap_or_default();
    // A path with `..` would leave the base path.
    url.host_str() == Some("panda.invalid") && url.path() == path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_paths_of_this_server_only() {
        for path in [
            "/",
            "/deployments/dep_1",
            "/?q=a%20b&status=FAILED",
            "/sign-in/done",
            "/deployments/dep_1#L10-20",
            "/a%2Fb",
        ] {
            assert_eq!(local_path(Some(path)), path);
        }
        for path in [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "https://evil.example",
            "///evil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/..//evil.example",
            "/../other",
            "/a/%2e%2e/%2e%2e/other",
            "/./x",
            "@evil.example",
            "/ evil",
            "/\u{e9}",
        ] {
            assert_eq!(local_path(Some(path)), "/", "{path:?}");
        }
        assert_eq!(local_path(Some(&format!("/{}", "a".repeat(MAX_PATH)))), "/");
        assert_eq!(local_path(None), "/");
    }
}
