//! `panda completion` and `panda man`: generated from the definition of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;
use super::progress::print_unsanitized;

const NAME: &str = "panda";

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda completion bash > /etc/bash_completion.d/panda
  panda completion zsh > \"${fpath[1]}/_panda\"
  panda completion fish > ~/.config/fish/completions/panda.fish")]
pub struct CompletionArgs {
    /// Shell: bash, elvish, fish, powershell or zsh
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda man --dir /usr/local/share/man/man1
  panda man | man -l -")]
pub struct ManArgs {
    /// Existing folder for one page a command; without it, the main page is printed
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Prints the script of a shell.
pub fn run(args: &CompletionArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut script);
    print_unsanitized(String::from_utf8_lossy(&script).trim_end());
}

/// Prints the main page, or writes all of them.
pub fn man(args: &ManArgs) -> Result<(), CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let failed = |source| CliError::File { path: PathBuf::from("panda.1"), source };
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
        print_unsanitized(String::from_utf8_lossy(&page).trim_end());
        return Ok(());
    };
    clap_mangen::generate_to(Cli::command(), dir).map_err(|source| CliError::File { path: dir.clone(), source })
}
