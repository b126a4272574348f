//! `panda serve`: runs the server.

use clap::Args;

use super::database;
use super::error::CliError;
use super::shutdown;
use crate::app;
use crate::config::Config;

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  PANDA_DATABASE_URL=postgres://panda:secret@db/panda panda serve --migrate

The credentials of the controller's AWS account come from the default chain of the AWS SDK (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role, …).
SIGTERM stops the server: other replicas take over its deployments, or the next start resumes them.")]
pub struct ServeArgs {
    #[command(flatten)]
    config: Config,
}

/// Runs the server until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    let _armed = crate::failpoints::arm();
    let source = args.config.database.source();
    // Boxed: the future holds all options, and is large.
    Box::pin(app::run(args.config, shutdown::token()?)).await.map_err(|error| database::locate(error.into(), &source))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::generated_documents::{between_markers, in_repository, same_as_file};
    use super::*;

    const BEGIN: &str = "<!-- options -->\n";
    const END: &str = "<!-- end of options -->";

    struct Opt {
        heading: String,
        flag: String,
        variable: String,
        default: String,
        help: String,
    }

    /// Lists the options of the server that have a variable, in the order of `panda serve --help`.
    fn options() -> Vec<Opt> {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let option = |arg: &clap::Arg| {
            let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            Some(Opt {
                heading: arg.get_help_heading().unwrap_or("Other").to_owned(),
                flag: format!("--{}", arg.get_long()?),
                variable: arg.get_env()?.to_str()?.to_owned(),
                // The system's folder for temporary files differs between machines.
                default: defaults.join(",").replace(&*std::env::temp_dir().to_string_lossy(), "/tmp"),
                help: arg.get_help()?.to_string(),
            })
        };
        command.get_arguments().filter_map(option).collect()
    }

    #[test]
    fn configuration_page_has_every_option() {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let options = options();
        assert!(options.len() > 30, "{}", options.len());
        let (mut made, mut heading) = (String::new(), "");
        for Opt { heading: of, variable, default, help, .. } in &options {
            if heading != of {
                heading = of;
                let _ = writeln!(made, "\n## {heading}\n\n| variable | default | meaning |\n| --- | --- | --- |");
            }
            let _ = writeln!(made, "| `{variable}` | {} | {} |", code(default), help.replace('|', "\\|"));
        }
        let path = in_repository("docs/configuration.md");
        same_as_file(&path, &between_markers(&path, BEGIN, END, &format!("{made}\n")));
    }

    #[test]
    fn flags_are_the_variables_in_lower_case() {
        for Opt { flag, variable, .. } in options() {
            assert_eq!(flag, variable.replace("PANDA_", "--").replace('_', "-").to_lowercase());
        }
    }

    #[test]
    fn example_of_variables_has_every_option() {
        let lines = options().into_iter().map(|Opt { variable, default, help, .. }| match variable.as_str() {
            "PANDA_DATABASE_URL" => format!("# {help}\n{variable}=postgres://panda:change-me@127.0.0.1:5432/panda\n"),
            // A shell reads the file.
            _ if default.contains(' ') => format!("# {help}\n#{variable}='{default}'\n"),
            _ => format!("# {help}\n#{variable}={default}\n"),
        });
        let made: String = lines.collect();
        let path = in_repository(".env.example");
        same_as_file(&path, &between_markers(&path, "# Options\n", "# Log and traces\n", &format!("{made}\n")));
    }
}
