//! The dev stack of `panda demo` and `panda up` on this machine: Postgres, a Docker engine, an image registry, the sandbox in place of AWS
//! and GitHub, and Panda itself in this process.
//!
//! Services stop in reverse order, also when a later one does not start: later services use earlier ones. If this process dies, every service
//! ends by itself (see `panda_dev_services::child_guard`).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Parser;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use url::Url;

use super::addresses::Addresses;
use super::{example, orphans, setup};
use crate::app::{self, RunningServer};
use crate::cli::error::CliError;
use crate::config::Config;
use crate::domain::connection::AwsKeys;
use crate::domain::keyring::Keyring;
use crate::domain::message::{Message, message};
use panda_dev_services::{DevServices, Registry, RegistryOptions, password_file};
use panda_sandbox::github::GitHub;
use panda_sandbox::{RegistryAddress, Sandbox, SandboxOptions, Scenario, Timing};

/// Name of the controller's event bus for push events in the sandbox.
const EVENT_BUS: &str = "panda";

/// Options of `panda dev`'s services and server.
#[derive(Clone, Debug)]
pub struct DevStackOptions {
    /// Private folder of all services.
    pub dir: PathBuf,
    /// Address on which Panda listens.
    pub listen: SocketAddr,
    /// True to keep the folder for the next start; the data then also survives a power cut.
    pub keep: bool,
    /// Token that the example's repository requires.
    pub token: SecretString,
    /// Scenario of the sandbox.
    pub scenario: Scenario,
}

/// A running dev stack.
#[derive(Debug)]
pub struct DevStack {
    /// Addresses and credentials of its services.
    pub addresses: Addresses,
    started: Started,
}

/// The services started so far.
#[derive(Debug, Default)]
struct Started {
    keep: bool,
    services: Option<DevServices>,
    github: Option<GitHub>,
    sandbox: Option<Sandbox>,
    registry: Option<Registry>,
    panda: Option<RunningServer>,
}

impl DevStack {
    /// Starts all services, and reports each stage to `print`.
    pub async fn start(options: &DevStackOptions, print: &(dyn Fn(Message) + Sync)) -> Result<Self, CliError> {
        let mut started = Started { keep: options.keep, ..Started::default() };
        match Box::pin(started.fill(options, print)).await {
            Ok(addresses) => Ok(Self { addresses, started }),
            Err(error) => {
                // Return the first error; errors of stopping would hide it.
                if let Err(stopping) = started.stop().await {
                    tracing::warn!(error = %stopping, "services not stopped after a failed start");
                }
                Err(error)
            }
        }
    }

    /// Stops all services, also if some cannot be stopped.
    pub async fn stop(self) -> Result<(), CliError> {
        self.started.stop().await
    }
}

impl Started {
    async fn fill(
        &mut self,
        options: &DevStackOptions,
        print: &(dyn Fn(Message) + Sync),
    ) -> Result<Addresses, CliError> {
        let dir = &options.dir;
        print(message!("dev.postgres"));
        let services = self.services.insert(DevServices::start(dir, options.keep).await?);
        if services.engine.is_private() {
            orphans::remove_containers(services.engine.docker()).await;
        }

        print(message!("dev.blue"));
        let blue = example::build_blue(&services.engine, dir).await?;

        print(message!("dev.sandbox"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| CliError::Demo(message!("dev.no_port", error = error.to_string())))?;
        let git_dir = dir.join("git");
        let repository = git_dir.join(example::OWNER).join(format!("{}.git", example::REPO));
        let is_new = !repository.exists();
        let github = self.github.insert(GitHub::start(listener, &git_dir).await?);
        example::publish(github.repositories(), &options.token, is_new).await?;
        let sandbox = self.sandbox.insert(
            Sandbox::start_with(
                SandboxOptions {
                    keys: Some(setup::kept_secret(&dir.join("sandbox-keys"), setup::random_api_token)?),
                    docker: services.engine.docker().clone(),
                    registry: None,
                    initial_image: Some(blue),
                    timing: Timing::default(),
                    listen: (Ipv4Addr::LOCALHOST, 0).into(),
                },
                &options.scenario,
            )
            .await?,
        );
        let registry = self.registry.insert(
            Registry::start(RegistryOptions {
                dir: dir.join("registry"),
                notification_url: sandbox.notification_url().clone(),
                engine: Some(&services.engine),
            })
            .await?,
        );
        sandbox.set_registry(RegistryAddress {
            host_port: registry.host_port(),
            username: registry.username().to_owned(),
            password: registry.password().clone(),
        });

        print(message!("dev.panda"));
        let token_file = dir.join("admin-token");
        let api_token = setup::kept_secret(&token_file, setup::random_api_token)?;
        let config = configuration(options, services, github, sandbox, &token_file)?;
        let keys = sandbox.controller_credentials();
        let controller = AwsKeys {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.clone(),
            session_token: None,
        };
        let panda = self.panda.insert(Box::pin(app::start(config, Some(controller))).await?);
        let url = format!("http://{}", panda.address());
        Ok(Addresses {
            panda: Url::parse(&url)
                .map_err(|error| CliError::input("--listen", Message::verbatim(error.to_string())))?,
            aws: sandbox.endpoint().clone(),
            region: sandbox.region().to_owned(),
            user: sandbox.user_credentials().clone(),
            repository,
            database: services.postgres.shown_url(),
            password_file: password_file(&dir.join("postgres")),
            api_token,
            token_file,
            docker: services.engine.host().to_owned(),
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
        if let Some(services) = self.services.take() {
            if let Some(registry) = registry.filter(|_| !services.engine.is_private()) {
                orphans::remove_of_registry(services.engine.docker(), &registry).await;
            }
            let stopped = if self.keep { services.stop().await } else { services.stop_and_remove().await };
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
struct ConfigParser {
    #[command(flatten)]
    config: Config,
}

/// Builds the configuration from the options of `panda serve`, so that all others keep their defaults and `PANDA_…` variables apply.
fn configuration(
    options: &DevStackOptions,
    services: &DevServices,
    github: &GitHub,
    sandbox: &Sandbox,
    token_file: &Path,
) -> Result<Config, CliError> {
    let endpoint = sandbox.endpoint().as_str();
    let mut args: Vec<OsString> = vec!["panda".into()];
    let mut set = |option: &str, value: &str| args.extend([OsString::from(option), value.into()]);
    set("--database-url", services.postgres.url().expose_secret());
    set("--key-file", &path_text(&key_file(&options.dir)?)?);
    set("--migrate", "true");
    set("--listen", &options.listen.to_string());
    // Other users of the machine, and builds on its network, can reach loopback as well.
    set("--auth", "required");
    set("--admin-token-file", &path_text(token_file)?);
    set("--aws-endpoint", endpoint);
    set("--codedeploy-endpoint", endpoint);
    set("--controller-region", sandbox.region());
    set("--event-bus", EVENT_BUS);
    set("--rule-target-role-arn", &sandbox.events_role());
    set("--github-api", &github.api_url());
    set("--github-url", &github.git_url());
    set("--docker-host", services.engine.host());
    if let Some(network) = build_network(options.keep, services.engine.network_mode()) {
        set("--build-network", network);
    }
    // The deployed services of the sandbox run on this machine.
    set("--health-allow", "127.0.0.0/8,::1");
    set("--workspace-dir", &path_text(&options.dir.join("workspaces"))?);
    let settings = ConfigParser::try_parse_from(args);
    Ok(settings.map_err(|error| CliError::input("configuration", Message::verbatim(error.to_string())))?.config)
}

/// The network of builds: none in the demo, whose example needs none. `panda up` builds the user's pushes, on the network that
/// `PANDA_BUILD_NETWORK` names, or the engine's.
fn build_network(keep: bool, engine: Option<&'static str>) -> Option<&'static str> {
    if !keep {
        return Some("none");
    }
    let named = std::env::var_os("PANDA_BUILD_NETWORK").is_some_and(|name| !name.is_empty());
    engine.filter(|_| !named)
}

/// The file with the key that encrypts stored secrets; created at the first start.
fn key_file(dir: &Path) -> Result<PathBuf, CliError> {
    let path = dir.join("keys");
    if !path.exists() {
        let line =
            Keyring::generate().map_err(|error| CliError::input("keys", Message::verbatim(error.to_string())))?;
        crate::cli::keys::write_new(&path, &line)?;
    }
    Ok(path)
}

fn path_text(path: &Path) -> Result<String, CliError> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| CliError::input("--data-dir", message!("dev.path_not_utf8", path = path.display().to_string())))
}
