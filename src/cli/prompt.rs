//! Questions to the user, on the terminal: on standard error, because scripts read only results from standard output.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::error::CliError;
use super::lang::text;
use super::sanitize;
use crate::domain::message::{Message, message};

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 4_096;
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];

/// True if a user can answer.
pub fn is_possible() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks for a text. An empty answer is the default; without one the question is repeated. `option` is what a script gives instead.
pub fn ask(option: &str, question: &Message, default: Option<&str>) -> Result<String, CliError> {
    possible(option)?;
    loop {
        let shown = default.map_or_else(String::new, |default| format!(" [{}]", sanitize::line(default)));
        eprint!("{}{shown}: ", sanitize::line(&text(question)));
        let answer = line()?;
        match (answer.trim(), default) {
            ("", Some(default)) => return Ok(default.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

/// Asks a question that y or n answers.
pub fn confirm(question: &Message, default: bool) -> Result<bool, CliError> {
    eprint!("{} {} ", sanitize::text(&text(question)), if default { "[Y/n]" } else { "[y/N]" });
    Ok(match line()?.trim().to_lowercase().as_str() {
        "" => default,
        "y" | "yes" | "예" => true,
        _ => false,
    })
}

/// Asks for a secret, without showing what is typed.
pub fn ask_secret(option: &str, question: &Message) -> Result<SecretString, CliError> {
    possible(option)?;
    loop {
        eprint!("{}: ", sanitize::line(&text(question)));
        let answer = hidden_line();
        eprintln!();
        let answer = answer?;
        if !answer.trim().is_empty() {
            return Ok(SecretString::from(answer.trim().to_owned()));
        }
    }
}

fn possible(option: &str) -> Result<(), CliError> {
    if is_possible() { Ok(()) } else { Err(CliError::input(option, message!("cli.cannot_ask"))) }
}

fn line() -> Result<String, CliError> {
    let mut answer = String::new();
    #[expect(clippy::disallowed_methods, reason = "take limits the line")]
    let read = std::io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer);
    // The end of the input is no answer.
    if read.is_ok_and(|read| read > 0) { Ok(answer) } else { Err(CliError::Interrupted) }
}

/// Restores the terminal's settings when it is dropped.
struct Unechoed(Termios);

impl Unechoed {
    fn start() -> nix::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut hidden = before.clone();
        // Ctrl-C arrives as a character, so that the settings are restored before the process ends.
        hidden.local_flags &= !(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Unechoed {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

fn hidden_line() -> Result<Zeroizing<String>, CliError> {
    let failed = |error: nix::Error| CliError::input("terminal", Message::verbatim(error.to_string()));
    let _unechoed = Unechoed::start().map_err(failed)?;
    let mut typed = Zeroizing::new(Vec::new());
    for byte in std::io::stdin().lock().take(MAX_ANSWER).bytes() {
        match byte.unwrap_or(END) {
            b'\r' | b'\n' => break,
            INTERRUPT | END => return Err(CliError::Interrupted),
            byte if BACKSPACE.contains(&byte) => {
                typed.pop();
            }
            byte => typed.push(byte),
        }
    }
    Ok(Zeroizing::new(String::from_utf8_lossy(&typed).into_owned()))
}
