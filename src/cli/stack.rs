//! Everything that `panda demo` and `panda up` need, on this machine: Postgres, a Docker engine, an image registry, the sandbox that stands
//! for AWS and GitHub, and Panda itself in this process.
//!
//! What was started is stopped in reverse order, also when a later part does not start: the later ones use the earlier ones. Should this
//! process die, every part ends by itself (see `sandbox::parts::leash`).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use url::Url;

use super::error::CliError;
use super::{example, leftovers, setup};
use crate::app::{self, Running};
use crate::config::Config;
use crate::domain::connection::AwsKeys;
use crate::domain::keyring::Keyring;
use crate::sandbox::github::GitHub;
use crate::sandbox::parts::{Parts, Registry, RegistryOptions, password_file};
use crate::sandbox::{RegistryAddress, Sandbox, SandboxCredentials, SandboxOptions, Timing};

/// The sandbox's bus for push events, on the controller's side.
const EVENT_BUS: &str = "panda";

/// What to start.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Private folder of all parts.
    pub dir: PathBuf,
    /// Where Panda listens.
    pub listen: SocketAddr,
    /// Whether the folder is kept for the next start: its data then survives a power cut.
    pub keep: bool,
    /// The token that the example's repository asks for.
    pub token: SecretString,
}

/// What users of the running parts need to know.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Panda.
    pub panda: Url,
    /// The sandbox: the endpoint of all AWS services.
    pub aws: Url,
    /// The sandbox's region.
    pub region: String,
    /// The keys of the account that is deployed to.
    pub user: SandboxCredentials,
    /// The example's repository on disk, to push new versions to.
    pub repository: PathBuf,
    /// Panda's database, without its password.
    pub database: String,
    /// The file with the database's password.
    pub password_file: PathBuf,
    /// A token that may do everything at Panda.
    pub api_token: SecretString,
    /// The file that holds it.
    pub token_file: PathBuf,
    /// The Docker engine, as in `DOCKER_HOST`.
    pub docker: String,
}

/// The running parts.
#[derive(Debug)]
pub struct Stack {
    /// Where they are.
    pub addresses: Addresses,
    started: Started,
}

/// Whatever has been started so far.
#[derive(Debug, Default)]
struct Started {
    keep: bool,
    parts: Option<Parts>,
    github: Option<GitHub>,
    sandbox: Option<Sandbox>,
    registry: Option<Registry>,
    panda: Option<Running>,
}

impl Stack {
    /// Starts everything and tells `say` what is being done.
    pub async fn start(options: &StackOptions, say: &(dyn Fn(&str) + Sync)) -> Result<Self, CliError> {
        let mut started = Started { keep: options.keep, ..Started::default() };
        match Box::pin(started.fill(options, say)).await {
            Ok(addresses) => Ok(Self { addresses, started }),
            Err(error) => {
                // The first error is the one that matters; those of stopping would hide it.
                if let Err(stopping) = started.stop().await {
                    tracing::warn!(error = %stopping, "after a failed start");
                }
                Err(error)
            }
        }
    }

    /// Stops everything, each part even if another could not be stopped.
    pub async fn stop(self) -> Result<(), CliError> {
        self.started.stop().await
    }
}

impl Started {
    async fn fill(&mut self, options: &StackOptions, say: &(dyn Fn(&str) + Sync)) -> Result<Addresses, CliError> {
        let dir = &options.dir;
        say("Starting Postgres and looking for a Docker engine");
        let parts = self.parts.insert(Parts::start(dir, options.keep).await?);
        if parts.engine.is_private() {
            leftovers::remove_containers(parts.engine.docker()).await;
        }

        say("Building version 1 of the example, which is blue");
        let blue = example::build_blue(&parts.engine, dir).await?;

        say("Starting the sandbox: AWS, GitHub, an image registry");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| CliError::Demo(format!("no free port for the sandbox's GitHub: {error}")))?;
        let git_dir = dir.join("git");
        let repository = git_dir.join(example::OWNER).join(format!("{}.git", example::REPO));
        let is_new = !repository.exists();
        let github = self.github.insert(GitHub::start(listener, &git_dir).await?);
        example::publish(github.repositories(), &options.token, is_new).await?;
        let sandbox = self.sandbox.insert(
            Sandbox::start(SandboxOptions {
                keys: Some(setup::kept_secret(&dir.join("sandbox-keys"), setup::random_api_token)?),
                docker: parts.engine.docker().clone(),
                registry: None,
                initial_image: Some(blue),
                timing: Timing::default(),
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
            })
            .await?,
        );
        let registry = self.registry.insert(
            Registry::start(RegistryOptions {
                dir: dir.join("registry"),
                notification_url: sandbox.notification_url().clone(),
                engine: Some(&parts.engine),
            })
            .await?,
        );
        sandbox.set_registry(RegistryAddress {
            host_port: registry.host_port(),
            username: registry.username().to_owned(),
            password: registry.password().clone(),
        });

        say("Starting Panda");
        let token_file = dir.join("admin-token");
        let api_token = setup::kept_secret(&token_file, setup::random_api_token)?;
        let config = configuration(options, parts, github, sandbox, &token_file)?;
        let keys = sandbox.controller_credentials();
        let controller = AwsKeys {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.clone(),
            session_token: None,
        };
        let panda = self.panda.insert(Box::pin(app::start(config, Some(controller))).await?);
        let url = format!("http://{}", panda.address());
        Ok(Addresses {
            panda: Url::parse(&url).map_err(|error| CliError::input("--listen", error.to_string()))?,
            aws: sandbox.endpoint().clone(),
            region: sandbox.region().to_owned(),
            user: sandbox.user_credentials().clone(),
            repository,
            database: parts.postgres.shown_url(),
            password_file: password_file(&dir.join("postgres")),
            api_token,
            token_file,
            docker: parts.engine.host().to_owned(),
        })
    }

    async fn stop(mut self) -> Result<(), CliError> {
        let mut problems = Vec::new();
        if let Some(panda) = self.panda.take() {
            panda.stop().await;
        }
        let registry = self.registry.as_ref().map(Registry::host_port);
        if let Some(registry) = self.registry.take() {
            problems.extend(registry.stop().await.err());
        }
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.shutdown().await;
        }
        drop(self.github.take());
        if let Some(parts) = self.parts.take() {
            if let Some(registry) = registry.filter(|_| !parts.engine.is_private()) {
                leftovers::remove_of_registry(parts.engine.docker(), &registry).await;
            }
            let stopped = if self.keep { parts.stop().await } else { parts.stop_and_remove().await };
            problems.extend(stopped.err());
        }
        if problems.is_empty() {
            return Ok(());
        }
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Err(CliError::Stop(problems.join("; ")))
    }
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    config: Config,
}

/// `panda serve`'s own options, so that everything that is not said here is as it is there, `PANDA_…` variables included.
fn configuration(
    options: &StackOptions,
    parts: &Parts,
    github: &GitHub,
    sandbox: &Sandbox,
    token_file: &Path,
) -> Result<Config, CliError> {
    let endpoint = sandbox.endpoint().as_str();
    let mut args: Vec<OsString> = vec!["panda".into()];
    let mut set = |option: &str, value: &str| args.extend([OsString::from(option), value.into()]);
    set("--database-url", parts.postgres.url().expose_secret());
    set("--key-file", &path_text(&key_file(&options.dir)?)?);
    set("--migrate", "true");
    set("--listen", &options.listen.to_string());
    // Other users of the machine, and what builds run on its network, reach loopback as well.
    set("--auth", "required");
    set("--admin-token-file", &path_text(token_file)?);
    set("--aws-endpoint", endpoint);
    set("--codedeploy-endpoint", endpoint);
    set("--controller-region", sandbox.region());
    set("--event-bus", EVENT_BUS);
    set("--github-api", &github.api_url());
    set("--github-url", &github.git_url());
    set("--docker-host", parts.engine.host());
    if let Some(network) = build_network(options.keep, parts.engine.network_mode()) {
        set("--build-network", network);
    }
    // The services of the sandbox run here.
    set("--health-allow", "127.0.0.0/8,::1");
    set("--workspace-dir", &path_text(&options.dir.join("workspaces"))?);
    let settings = Settings::try_parse_from(args);
    Ok(settings.map_err(|error| CliError::input("configuration", error.to_string()))?.config)
}

/// The network of builds: none in the demo, whose example needs none. `panda up` builds what its user pushes, on the network that
/// `PANDA_BUILD_NETWORK` names, or the one that the engine has.
fn build_network(keep: bool, engine: Option<&'static str>) -> Option<&'static str> {
    if !keep {
        return Some("none");
    }
    let named = std::env::var_os("PANDA_BUILD_NETWORK").is_some_and(|name| !name.is_empty());
    engine.filter(|_| !named)
}

/// The key that seals what is stored here; made at the first start.
fn key_file(dir: &Path) -> Result<PathBuf, CliError> {
    let path = dir.join("keys");
    if !path.exists() {
        let line = Keyring::generate().map_err(|error| CliError::input("keys", error.to_string()))?;
        super::keys::write_new(&path, &line)?;
    }
    Ok(path)
}

fn path_text(path: &Path) -> Result<String, CliError> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| CliError::input("--data-dir", format!("{} is not valid UTF-8", path.display())))
}
