//! The command line: one file a command. Only `main` uses this room.

mod api;
mod audit;
mod build_secrets;
mod cancel;
mod clean;
mod connect;
mod connections;
mod current;
mod demo;
mod deploy;
mod error;
mod example;
mod fetch_source;
mod keys;
mod leftovers;
mod list;
mod log;
mod maintenance;
mod migrate;
mod parts;
mod progress;
mod report;
mod result;
mod retry;
mod schedule;
mod secret;
mod serve;
mod setup;
mod shutdown;
mod source;
mod stack;
mod stream;
mod switch;
mod table;
mod token;
mod types;
mod up;
mod watch;
mod what;

use clap::{Parser, Subcommand};

pub use error::{CliError, exit};
pub use fetch_source::run as fetch_source;
pub use progress::warn;

use crate::app;
use crate::domain::principal::Caller;
use crate::telemetry::{self, LogFormat, SERVER_LOG};

const AFTER_HELP: &str = "\
Try it, without an AWS account:
  panda demo                       one deployment from a git repository to COMPLETED, then everything is removed
  panda up                         the same parts, and they stay; prints what to try next

Against a running server (--server or PANDA_SERVER, by default http://127.0.0.1:8080; PANDA_TOKEN or --panda-token-file signs in):
  panda connect github --owner acme --repo shop --branch main --token-file token.txt
  panda connect aws --region ap-northeast-2
  panda deploy --wait              start a deployment and follow it until it is ready for the switch
  panda switch dep_… --wait        move the traffic to green and follow it until COMPLETED
  panda cancel dep_…               stop it: build, execution and CodeDeploy
  panda retry dep_… --wait         try a failed one again, from where it failed
  panda result dep_…               what became of it
  panda report                     questions about the history, such as panda report lead-time --since 90d
  panda schedule create --cron '30 6 * * MON-FRI' --time-zone Asia/Seoul

Exit codes:
  0  done    1  the deployment failed    2  wrong usage or input    3  server not reachable
  4  refused by the server (not found, conflict, not allowed)    5  anything else    130  interrupted";

/// Deploys a git repository to ECS blue/green: clones, builds, pushes to ECR, follows the pipeline, switches the traffic.
#[derive(Debug, Parser)]
#[command(name = "panda", version, after_help = AFTER_HELP, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// How log lines on standard error look; RUST_LOG says which there are
    #[arg(long, env = "PANDA_LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Collector that traces of deployments are sent to, OTLP over HTTP, such as http://collector:4318; none by default
    #[arg(long, env = "PANDA_OTLP_ENDPOINT", global = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine with a sandbox instead of AWS, and keep it running
    Up(up::UpArgs),
    /// Show one whole deployment on this machine, then remove everything again
    Demo(demo::DemoArgs),
    /// Run the server
    Serve(Box<serve::ServeArgs>),
    /// Bring the database's schema up to date
    Migrate(migrate::MigrateArgs),
    /// The keys that seal stored secrets
    Keys(keys::KeysArgs),
    /// The tokens with which the API is used
    Token(token::TokenArgs),
    /// Connect a source repository or an AWS account
    #[command(subcommand)]
    Connect(connect::ConnectCommand),
    /// List the connections, or remove one
    Connections(connections::ConnectionsArgs),
    /// Start a deployment
    Deploy(deploy::DeployArgs),
    /// Show a deployment's events, from the first, as they happen
    Watch(watch::WatchArgs),
    /// Move the traffic of a deployment that is ready to green
    Switch(switch::SwitchArgs),
    /// Stop a deployment that is not finished
    Cancel(cancel::CancelArgs),
    /// Try a failed deployment again, from where it failed
    Retry(retry::RetryArgs),
    /// Show what became of a deployment
    Result(result::ResultArgs),
    /// List deployments, newest first
    List(list::ListArgs),
    /// Show the newest deployment that is not finished
    Current(current::CurrentArgs),
    /// Deployments that start by the clock
    Schedule(schedule::ScheduleArgs),
    /// Show who did what, newest first
    Audit(audit::AuditArgs),
    /// Answer questions about the history: how often, how long, why it failed, who decided
    Report(report::ReportArgs),
    /// Show what is removed with time, or remove it now
    Maintenance(maintenance::MaintenanceArgs),
    /// Show what the replicas log, or log something else for a while
    Log(log::LogArgs),
    /// Fetch a repository, as a server's child process
    #[command(hide = true)]
    FetchSource(fetch_source::FetchSourceArgs),
    /// Run a command with a private Postgres and a Docker engine (DATABASE_URL and DOCKER_HOST are set)
    Parts(parts::PartsArgs),
}

/// Who runs the program, for what is kept of changes that are made on the database itself.
fn operator() -> Caller {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let name = user.ok().flatten().map_or_else(|| "unknown".to_owned(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Caller::operator(format!("{name}@{}", host.unwrap_or_else(|| "unknown".to_owned())))
}

/// Runs the command and says what the process exits with.
pub async fn run(cli: Cli) -> Result<u8, CliError> {
    let quiet = !matches!(cli.command, Command::Serve(_) | Command::Migrate(_));
    let is_replica = matches!(cli.command, Command::Serve(_) | Command::Up(_) | Command::Demo(_));
    let replica = is_replica.then(app::replica_name);
    let default = if quiet { "warn" } else { SERVER_LOG };
    let _telemetry = telemetry::init(cli.log_format, default, cli.otlp_endpoint.as_deref(), replica)?;
    match cli.command {
        // Large: they hold all parts.
        Command::Up(args) => Box::pin(up::run(args)).await?,
        Command::Demo(args) => Box::pin(demo::run(args)).await?,
        Command::Serve(args) => Box::pin(serve::run(*args)).await?,
        Command::Migrate(args) => migrate::run(args).await?,
        Command::Keys(args) => keys::run(args).await?,
        Command::Token(args) => token::run(args).await?,
        Command::Connect(command) => connect::run(command).await?,
        Command::Connections(args) => connections::run(args).await?,
        Command::Deploy(args) => deploy::run(args).await?,
        Command::Watch(args) => watch::run(args).await?,
        Command::Switch(args) => switch::run(args).await?,
        Command::Cancel(args) => cancel::run(args).await?,
        Command::Retry(args) => retry::run(args).await?,
        Command::Result(args) => result::run(args).await?,
        Command::List(args) => list::run(args).await?,
        Command::Current(args) => current::run(args).await?,
        Command::Schedule(args) => schedule::run(args).await?,
        Command::Audit(args) => audit::run(args).await?,
        Command::Report(args) => report::run(args).await?,
        Command::Maintenance(args) => maintenance::run(args).await?,
        Command::Log(args) => log::run(args).await?,
        Command::FetchSource(args) => fetch_source::run(&args)?,
        // The command's own exit code is ours.
        Command::Parts(args) => return parts::run(args).await,
    }
    Ok(0)
}
