//! The command line: one file per command. Only `main` uses this module.

mod api;
mod api_words;
mod audit;
mod build_secrets;
mod cancel;
mod channel;
mod check;
mod checkout;
mod completion;
mod connect;
mod connection_choice;
mod connections;
mod current;
mod database;
mod deploy;
#[cfg(feature = "dev")]
mod dev;
mod error;
mod fetch_source;
mod freeze;
#[cfg(test)]
mod generated_documents;
mod github_app;
mod hook;
mod iam_policy;
mod id_prefix;
mod init;
mod keys;
mod keys_check;
mod lang;
mod list;
mod log;
mod maintenance;
mod migrate;
mod next_command;
mod outcome;
mod pipeline;
mod policy;
mod progress;
mod prompt;
mod replay;
mod report;
mod request_args;
mod result;
mod retry;
mod rollback;
mod rule_role;
mod sanitize;
mod schedule;
mod secret;
mod serve;
mod server_url;
mod shutdown;
mod stream;
mod switch;
mod table;
mod token;
mod types;
mod watch;
mod webhook;

use clap::{Parser, Subcommand};

pub use error::{CliError, exit};
pub use fetch_source::run as fetch_source;
pub use progress::warn;

use crate::app;
use crate::domain::lang::Lang;
use crate::domain::principal::Caller;
use crate::telemetry::{self, LogFormat, SERVER_LOG};

#[cfg(feature = "dev")]
const DEV_HELP: &str = "\
Try it, without an AWS account:
  panda demo                       run one deployment from a git repository to COMPLETED, then remove everything
  panda up                         start the same services and keep them running; prints what to try next

";
#[cfg(not(feature = "dev"))]
const DEV_HELP: &str = "";

const AFTER_HELP: &str = "\
Against a running server (--server or PANDA_SERVER, default http://127.0.0.1:8080; PANDA_TOKEN or --panda-token-file to sign in):
  panda init                       connect a repository and an AWS account, and deploy; asks for what is missing
  panda check                      list what a deployment needs, and what is missing
  panda deploy --wait              start a deployment and follow it until it is ready for the switch
  panda switch dep_… --wait        move the traffic to green and follow it until COMPLETED
  panda cancel dep_…               stop a deployment: build, execution and CodeDeploy
  panda retry dep_… --wait         retry a failed deployment from the step that failed
  panda rollback dep_… --switch    return to the version before a completed deployment
  panda outcome dep_… failed       mark how a deployment did in production
  panda result dep_…               show the result of a deployment
  panda report                     list the reports, such as panda report lead-time --since 90d
  panda schedule create --cron '30 6 * * MON-FRI' --time-zone Asia/Seoul

An id may be shortened to any beginning that no other one has. panda completion --help and panda man --help show how to install both.

Exit codes:
  0  done    1  the deployment failed, or a replay differs    2  wrong usage or input    3  server not reachable
  4  refused by the server (not found, conflict, not allowed)    5  anything else
  6  something that a deployment needs is missing    7  something that it needs is unknown    130  interrupted";

/// Deploys a git repository to ECS blue/green: clones, builds, pushes to ECR, follows the pipeline, switches the traffic.
#[derive(Debug, Parser)]
#[command(name = "panda", version, after_help = format!("{DEV_HELP}{AFTER_HELP}"), arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// The subcommand to run
    #[command(subcommand)]
    pub command: Command,
    /// Format of the log lines on standard error; RUST_LOG selects the lines
    #[arg(long, env = "PANDA_LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// URL of an OTLP/HTTP collector to send traces of deployments to, such as http://collector:4318; none by default
    #[arg(long, env = "PANDA_OTLP_ENDPOINT", global = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Language of output and errors, ko or en; default: that of the locale (LC_ALL, LC_MESSAGES, LANG)
    #[arg(long, env = "PANDA_LANG", global = true, value_name = "LANG")]
    pub lang: Option<Lang>,
}

/// The subcommands of `panda`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start Panda and all its services on this machine, with a sandbox instead of AWS
    #[cfg(feature = "dev")]
    Up(dev::up::UpArgs),
    /// Run one complete deployment on this machine, then remove everything
    #[cfg(feature = "dev")]
    Demo(dev::demo::DemoArgs),
    /// Run the server until SIGTERM
    Serve(Box<serve::ServeArgs>),
    /// Apply the missing migrations to the database
    Migrate(migrate::MigrateArgs),
    /// Manage the keys that encrypt stored secrets
    Keys(keys::KeysArgs),
    /// Manage the API tokens
    Token(token::TokenArgs),
    /// Connect a repository and an AWS account, and start the first deployment
    Init(Box<init::InitArgs>),
    /// Connect a source repository or an AWS account
    #[command(subcommand)]
    Connect(connect::ConnectCommand),
    /// List or remove connections
    Connections(connections::ConnectionsArgs),
    /// Start a deployment of a connected repository
    Deploy(deploy::DeployArgs),
    /// Show a deployment's events, from the first on, as they happen
    Watch(watch::WatchArgs),
    /// Move the traffic of a ready deployment to green
    Switch(switch::SwitchArgs),
    /// Cancel an unfinished deployment
    Cancel(cancel::CancelArgs),
    /// Retry a failed deployment from the step that failed
    Retry(retry::RetryArgs),
    /// Return to the version before a completed deployment
    Rollback(rollback::RollbackArgs),
    /// Mark how a deployment did in production, for the DORA figures
    Outcome(outcome::OutcomeArgs),
    /// Show the result of a deployment
    Result(result::ResultArgs),
    /// Read the stored history of a deployment's executions again, and compare it with what was published
    Replay(replay::ReplayArgs),
    /// List what a deployment needs: permissions, resources, services, and whether they are there
    Check(check::CheckArgs),
    /// Print the policies that Panda needs in AWS
    IamPolicy(iam_policy::IamPolicyArgs),
    /// Check an execution of the pipeline against its contract
    Pipeline(pipeline::PipelineArgs),
    /// List deployments, newest first
    List(list::ListArgs),
    /// Show the newest unfinished deployment
    Current(current::CurrentArgs),
    /// Manage schedules, which start deployments at fixed times
    Schedule(schedule::ScheduleArgs),
    /// Manage freezes, which hold deployments or their switch for a time
    Freeze(freeze::FreezeArgs),
    /// Manage channels, which show deployments in chats and mails
    Channel(channel::ChannelArgs),
    /// Manage push hooks, by which pushes to GitHub start deployments
    Hook(hook::HookArgs),
    /// Manage webhooks, which send events to other programs
    Webhook(webhook::WebhookArgs),
    /// Show or store what a target permits: windows and approvals
    Policy(policy::PolicyArgs),
    /// Show the audit log, newest first
    Audit(audit::AuditArgs),
    /// Report on the history: frequency, duration, failures, approvals
    Report(report::ReportArgs),
    /// Show the retention of stored data, or remove expired data now
    Maintenance(maintenance::MaintenanceArgs),
    /// Show the log filter of the replicas, or change it for a limited time
    Log(log::LogArgs),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
    /// Write the man pages
    Man(completion::ManArgs),
    /// Fetch a repository; the server runs this as its child process
    #[command(hide = true)]
    FetchSource(fetch_source::FetchSourceArgs),
    /// Run a command with a private Postgres and a Docker engine; sets DATABASE_URL and DOCKER_HOST
    #[cfg(feature = "dev")]
    Parts(dev::parts::PartsArgs),
}

/// The operating system's user and host, recorded in the audit of changes made directly on the database.
fn operator() -> Caller {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let name = user.ok().flatten().map_or_else(|| "unknown".to_owned(), |user| user.name);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Caller::operator(format!("{name}@{}", host.unwrap_or_else(|| "unknown".to_owned())))
}

impl Command {
    /// Returns true if the process becomes a replica, whose name belongs to its traces.
    fn is_replica(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            #[cfg(feature = "dev")]
            Self::Up(_) | Self::Demo(_) => true,
            _ => false,
        }
    }
}

/// Runs the command and returns the exit code of the process.
pub async fn run(cli: Cli) -> Result<u8, CliError> {
    lang::set(cli.lang);
    let quiet = !matches!(cli.command, Command::Serve(_) | Command::Migrate(_));
    let replica = cli.command.is_replica().then(app::replica_name);
    let default = if quiet { "warn" } else { SERVER_LOG };
    let _telemetry = telemetry::init(cli.log_format, default, cli.otlp_endpoint.as_deref(), replica)?;
    match cli.command {
        // Boxed: these futures hold all services, and are large.
        #[cfg(feature = "dev")]
        Command::Up(args) => Box::pin(dev::up::run(args)).await?,
        #[cfg(feature = "dev")]
        Command::Demo(args) => Box::pin(dev::demo::run(args)).await?,
        Command::Serve(args) => Box::pin(serve::run(*args)).await?,
        Command::Migrate(args) => migrate::run(args).await?,
        Command::Keys(args) => keys::run(args).await?,
        Command::Token(args) => token::run(args).await?,
        Command::Init(args) => Box::pin(init::run(*args)).await?,
        Command::Connect(command) => connect::run(command).await?,
        Command::Connections(args) => connections::run(args).await?,
        Command::Deploy(args) => deploy::run(args).await?,
        Command::Watch(args) => watch::run(args).await?,
        Command::Switch(args) => switch::run(args).await?,
        Command::Cancel(args) => cancel::run(args).await?,
        Command::Retry(args) => retry::run(args).await?,
        Command::Rollback(args) => rollback::run(args).await?,
        Command::Outcome(args) => outcome::run(args).await?,
        Command::Result(args) => result::run(args).await?,
        // Returns an exit code: 1 when something differs.
        Command::Replay(args) => return replay::run(args).await,
        // Returns an exit code: 6 when something is missing, 7 when something is unknown.
        Command::Check(args) => return check::run(args).await,
        Command::IamPolicy(args) => iam_policy::run(args),
        // Returns an exit code: 1 when a clause is broken.
        Command::Pipeline(args) => return pipeline::run(args).await,
        Command::List(args) => list::run(args).await?,
        Command::Current(args) => current::run(args).await?,
        Command::Schedule(args) => schedule::run(args).await?,
        Command::Freeze(args) => freeze::run(args).await?,
        Command::Channel(args) => channel::run(args).await?,
        Command::Hook(args) => hook::run(args).await?,
        Command::Webhook(args) => webhook::run(args).await?,
        Command::Policy(args) => policy::run(args).await?,
        Command::Audit(args) => audit::run(args).await?,
        Command::Report(args) => report::run(args).await?,
        Command::Maintenance(args) => maintenance::run(args).await?,
        Command::Log(args) => log::run(args).await?,
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => completion::man(&args)?,
        Command::FetchSource(args) => fetch_source::run(&args)?,
        // Returns the exit code of the command that it ran.
        #[cfg(feature = "dev")]
        Command::Parts(args) => return dev::parts::run(args).await,
    }
    Ok(0)
}
