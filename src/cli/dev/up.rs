//! `panda up`: starts the demo's services and keeps them running.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::fcntl::{Flock, FlockArg};
use secrecy::ExposeSecret as _;

use super::addresses::Addresses;
use super::stack::{DevStack, DevStackOptions};
use super::{example, setup};
use crate::bounded;
use crate::cli::api::Api;
use crate::cli::error::CliError;
use crate::cli::lang::{self, text};
use crate::cli::next_command::{own_command, quoted};
use crate::cli::progress::print;
use crate::cli::shutdown;
use crate::domain::message::{Message, message};
use panda_sandbox::Scenario;

/// File with the token that the example's repository requires, in the folder with the data.
const GITHUB_TOKEN: &str = "github-token";

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda up                                   then run the printed commands in another terminal
  panda up --scenario slow-rules.toml        with faults of AWS, as docs/sandbox.md describes them

Starts Postgres, a Docker engine when none is running, an image registry, a sandbox that stands for AWS and GitHub, and Panda. The
deployments and the example's repository stay in the folder for the next start; the sandbox itself starts empty each time. The API requires
the token in the folder's file admin-token, the example's repository that in github-token, Postgres the password in postgres/password. Ctrl-C stops everything.")]
pub struct UpArgs {
    /// Folder for the data, kept between runs
    #[arg(long, env = "PANDA_DATA_DIR", value_name = "FOLDER", default_value_os_t = default_folder())]
    data_dir: PathBuf,
    /// Address to listen on
    #[arg(long, env = "PANDA_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080", value_parser = loopback)]
    listen: SocketAddr,
    /// Scenario file of the sandbox, in TOML or JSON: region, roles, timing, faults
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: UpArgs) -> Result<(), CliError> {
    let cancel = shutdown::token()?;
    let scenario = args.scenario.as_deref().map_or_else(|| Ok(Scenario::default()), scenario)?;
    let dir = folder(&args.data_dir)?;
    let _lock = lock(&dir)?;
    let token = setup::kept_secret(&dir.join(GITHUB_TOKEN), setup::random_token)?;
    let options = DevStackOptions { token, dir, listen: args.listen, keep: true, scenario };
    let progress = |step: Message| print(&format!("… {}", text(&step)));
    let stack = tokio::select! {
        started = DevStack::start(&options, &progress) => started?,
        () = cancel.cancelled() => return Err(CliError::Interrupted),
    };
    let connected = async {
        let api = Api::new(&stack.addresses.panda, Some(&stack.addresses.api_token), Some(lang::lang()))?;
        setup::connect(&api, &stack.addresses, &options.token).await
    };
    let welcomed = connected.await.map(|ids| print(&welcome(&stack.addresses, &options, &ids)));
    if welcomed.is_ok() {
        cancel.cancelled().await;
    }
    print(&format!("\n… {}", text(&message!("dev.stopping"))));
    let stopped = Box::pin(stack.stop()).await;
    welcomed?;
    stopped
}

fn scenario(path: &Path) -> Result<Scenario, CliError> {
    let refused = |error: String| {
        CliError::input("--scenario", message!("cli.error_at", path = path.display().to_string(), error))
    };
    let text = bounded::text_file(path).map_err(|error| refused(error.to_string()))?;
    Scenario::parse(&text).map_err(|error| refused(error.to_string()))
}

/// Accepts only loopback addresses: without TLS, the token would be readable on the network.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "give an address and a port such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("panda up only listens on this machine: give a loopback address, or use panda serve".to_owned())
    }
}

fn welcome(at: &Addresses, options: &DevStackOptions, (github, aws): &(String, String)) -> String {
    let panda = at.panda.as_str().trim_end_matches('/');
    let me = own_command();
    let flag = if options.listen.port() == 8080 { String::new() } else { format!(" --server {panda}") };
    let (owner, repo, branch) = (example::OWNER, example::REPO, example::BRANCH);
    let body = format!(
        r#"{{"githubConnectionId":"{github}","awsConnectionId":"{aws}","owner":"{owner}","repo":"{repo}","branch":"{branch}"}}"#
    );
    // The secret is printed for use: it is one of the sandbox on this machine, created for this run.
    let message = message!(
        "dev.welcome",
        panda,
        me,
        flag,
        body,
        owner,
        repo,
        branch,
        github_token = quoted(&options.dir.join(GITHUB_TOKEN).to_string_lossy()),
        github,
        aws,
        aws_endpoint = at.aws.to_string(),
        region = &at.region,
        key = &at.user.access_key_id,
        secret = at.user.secret_access_key.expose_secret(),
        token = quoted(&at.token_file.to_string_lossy()),
        database = at.database.clone(),
        password = at.password_file.display().to_string(),
        docker = &at.docker,
        data = options.dir.display().to_string(),
        repository = quoted(&at.repository.to_string_lossy()),
    );
    text(&message)
}

/// `~/.local/share/panda`, following the XDG rules. For root `/var/lib/panda`: Postgres then runs as a user that cannot read root's home folder.
fn default_folder() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from("/var/lib/panda");
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
        .join("panda")
}

fn folder(path: &Path) -> Result<PathBuf, CliError> {
    let made = std::fs::create_dir_all(path).and_then(|()| path.canonicalize());
    made.map_err(|error| {
        CliError::input(
            "--data-dir",
            message!("cli.error_at", path = path.display().to_string(), error = error.to_string()),
        )
    })
}

/// Locks the folder: two concurrent processes would corrupt each other's database.
fn lock(dir: &Path) -> Result<Flock<std::fs::File>, CliError> {
    let path = dir.join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| CliError::File { path, source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| CliError::input("--data-dir", message!("dev.folder_used", path = dir.display().to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("another panda uses"));
        drop(held);
        lock(dir.path()).unwrap();
    }
}
