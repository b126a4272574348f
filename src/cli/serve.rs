//! `panda serve`: the server.

use clap::Args;

use super::error::CliError;
use super::shutdown;
use crate::app;
use crate::config::Config;

/// `panda serve`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  PANDA_DATABASE_URL=postgres://panda:secret@db/panda panda serve --migrate

The controller's own AWS account is found as the AWS SDK does it (AWS_PROFILE, AWS_ACCESS_KEY_ID, a role, …).
SIGTERM stops it: deployments are handed over to other replicas or resumed at the next start.")]
pub struct ServeArgs {
    #[command(flatten)]
    config: Config,
}

/// Runs until a signal comes.
pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    let _armed = crate::failpoints::arm();
    // Boxed: all options are in it.
    Box::pin(app::run(args.config, shutdown::token()?)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const ENV_EXAMPLE: &str = include_str!("../../.env.example");

    /// Variable, default and help of each option of the server.
    fn options() -> Vec<[String; 3]> {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let option = |arg: &clap::Arg| {
            let variable = arg.get_env()?.to_str()?.to_owned();
            let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            // The system's folder for temporary files is not the same everywhere.
            let default = defaults.join(",").replace(&*std::env::temp_dir().to_string_lossy(), "/tmp");
            Some([variable, default, arg.get_help()?.to_string()])
        };
        command.get_arguments().filter_map(option).collect()
    }

    #[test]
    fn the_readme_has_every_variable_with_its_default() {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let rows: Vec<String> = options()
            .into_iter()
            .map(|[variable, default, help]| format!("| `{variable}` | {} | {help} |", code(&default)))
            .collect();
        assert!(rows.len() > 30, "{rows:#?}");
        for row in &rows {
            assert!(README.contains(row.as_str()), "the table in README.md should be:\n{}", rows.join("\n"));
        }
    }

    #[test]
    fn the_example_of_variables_has_every_one_with_its_default() {
        let lines: Vec<String> = options()
            .into_iter()
            .map(|[variable, default, help]| match variable.as_str() {
                "PANDA_DATABASE_URL" => format!("# {help}\n{variable}=postgres://panda:change-me@127.0.0.1:5432/panda"),
                // The file is read by a shell.
                _ if default.contains(' ') => format!("# {help}\n#{variable}='{default}'"),
                _ => format!("# {help}\n#{variable}={default}"),
            })
            .collect();
        for line in &lines {
            assert!(ENV_EXAMPLE.contains(line.as_str()), ".env.example should have:\n{}", lines.join("\n"));
        }
    }
}
