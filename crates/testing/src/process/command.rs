//! The program's commands, as a user or a script runs them.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Output and exit status of a command.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A build of the program, without the environment of the test run.
pub fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PANDA_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    for locale in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        command.env_remove(locale);
    }
    // Not in this checkout, whose repository a command would deploy.
    command.current_dir(std::env::temp_dir());
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Creates an API token on a database as an operator does, and returns its secret.
pub async fn create_token(program: &Path, database_url: &str, options: &[String]) -> String {
    let mut create = command(program, &["token", "create"]);
    let made = run(create.args(options).env("PANDA_DATABASE_URL", database_url)).await;
    let token = made.stdout.split_whitespace().find(|word| word.starts_with("panda_"));
    token.unwrap_or_else(|| panic!("no token: {}", made.stderr)).to_owned()
}
