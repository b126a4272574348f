//! Commands that the output suggests: they run as they are printed, from any folder and against the same server.

use super::api::ServerArgs;
use super::server_url::{DEFAULT_SERVER, server_url};

/// The command line of `args` against the server of the present command.
pub fn next_command(args: &str, server: &ServerArgs) -> String {
    let default = std::env::var("PANDA_SERVER").ok().filter(|url| !url.is_empty());
    let default = server_url(default.as_deref().unwrap_or(DEFAULT_SERVER)).ok();
    let mut command = format!("{} {args}", own_command());
    if default.as_ref() != Some(&server.server) {
        command.push_str(" --server ");
        command.push_str(&quoted(server.server.as_str().trim_end_matches('/')));
    }
    let token = std::env::var_os("PANDA_TOKEN_FILE");
    if let Some(file) = server.panda_token_file.as_ref().filter(|file| token.as_deref() != Some(file.as_os_str())) {
        command.push_str(" --panda-token-file ");
        command.push_str(&quoted(&file.to_string_lossy()));
    }
    command
}

/// The command that starts this program from any folder: it may not be on the `PATH`.
pub fn own_command() -> String {
    let on_path = std::env::args_os().next().is_some_and(|name| !name.to_string_lossy().contains('/'));
    let path = std::env::current_exe().ok().filter(|_| !on_path);
    path.map_or_else(|| "panda".to_owned(), |path| quoted(&path.to_string_lossy()))
}

/// Quotes a word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_words_for_shells() {
        assert_eq!(quoted("/var/lib/panda/git"), "/var/lib/panda/git");
        assert_eq!(quoted("http://127.0.0.1:9000"), "http://127.0.0.1:9000");
        assert_eq!(quoted("/home/o'neil/my data"), r"'/home/o'\''neil/my data'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn keeps_server_and_token_file() {
        let server = |url: &str, file: Option<&str>| ServerArgs {
            server: server_url(url).unwrap(),
            json: false,
            panda_token_file: file.map(Into::into),
        };
        let own = own_command();
        assert_eq!(
            next_command("switch dep_1 --wait", &server(DEFAULT_SERVER, None)),
            format!("{own} switch dep_1 --wait")
        );
        assert_eq!(
            next_command("watch dep_1", &server("https://panda.example/x/", Some("my token"))),
            format!("{own} watch dep_1 --server https://panda.example/x --panda-token-file 'my token'")
        );
    }
}
