//! Parsing of a Dockerfile's text into instructions.

use std::collections::HashMap;

use super::{Dockerfile, Instruction, words};

/// Known directives. The first line that is none of them ends the directives.
const DIRECTIVES: [&str; 3] = ["syntax", "escape", "check"];

/// Instructions that can have here-documents.
const HEREDOC: [&str; 3] = ["add", "copy", "run"];

/// Maximum number of instructions that are parsed.
const MAX_INSTRUCTIONS: usize = 5_000;

impl Dockerfile {
    /// Parses a Dockerfile in time linear in the length of `text`. The caller must limit the length.
    pub fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r')).enumerate().peekable();
        let last_lines = last_lines(text);
        let mut file = Self::default();
        let mut escape = '\\';
        let mut in_directives = true;
        while let Some((index, line)) = lines.next() {
            let line = line.trim_start();
            if in_directives {
                match directive(line) {
                    Some((name, value)) => {
                        if name == "escape" && value == "`" {
                            escape = '`';
                        }
                        file.directives.push((index + 1, name, value));
                        continue;
                    }
                    // A `#!` line of a script may precede directives.
                    None if index == 0 && line.starts_with("#!") => continue,
                    None => in_directives = false,
                }
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (mut whole, mut continues) = continued(line, escape);
            let mut parts = vec![whole];
            while continues {
                let Some((_, next)) = lines.next() else { break };
                let start = next.trim_start();
                if start.is_empty() || start.starts_with('#') {
                    continue;
                }
                (whole, continues) = continued(next, escape);
                parts.push(whole);
            }
            let mut instruction = instruction(index + 1, &parts.concat());
            // Ignore a here-document without an end, which the builder rejects: it must not swallow the rest of the file.
            for (name, chomps) in heredocs(&instruction) {
                let bare = |line: &str| if chomps { line.trim_start_matches('\t').to_owned() } else { line.to_owned() };
                let next = lines.peek().map_or(usize::MAX, |(index, _)| *index);
                let last = if chomps { &last_lines.1 } else { &last_lines.0 };
                if last.get(name.as_str()).is_none_or(|last| *last < next) {
                    break;
                }
                lines.by_ref().find(|(_, line)| bare(line) == name);
                instruction.heredocs.push(name);
            }
            if file.instructions.len() == MAX_INSTRUCTIONS {
                file.unread = Some(instruction.line);
                break;
            }
            file.instructions.push(instruction);
        }
        file
    }
}

/// Returns the number of the last line with each text, once verbatim and once without leading tabs, so that the search for the end of a
/// here-document only starts if there is one.
fn last_lines(text: &str) -> (HashMap<&str, usize>, HashMap<&str, usize>) {
    let lines = || text.split('\n').map(|line| line.trim_end_matches('\r')).enumerate();
    let bare = lines().map(|(index, line)| (line.trim_start_matches('\t'), index));
    (lines().map(|(index, line)| (line, index)).collect(), bare.collect())
}

/// Parses a directive `# name=value`.
fn directive(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let name = name.trim().to_ascii_lowercase();
    let value = value.trim();
    (DIRECTIVES.contains(&name.as_str()) && !value.is_empty()).then(|| (name, value.to_owned()))
}

/// Strips the escape character from the end of a line, and returns true if there was one. A doubled escape character does not continue the
/// line.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before, true),
        _ => (line, false),
    }
}

fn instruction(line: usize, text: &str) -> Instruction {
    let (name, rest) = first_word(text);
    let mut name = name.to_lowercase();
    let mut rest = rest;
    let is_trigger = name == "onbuild";
    if is_trigger {
        let (trigger, after) = first_word(rest);
        name = trigger.to_lowercase();
        rest = after;
    }
    let mut flags = Vec::new();
    // The flags of HEALTHCHECK precede its `CMD`, which is an argument here.
    while rest.starts_with("--") {
        let (flag, after) = rest.split_at(words::first(rest).len());
        rest = after.trim_start();
        let flag = words::unquoted(flag);
        let flag = flag.trim_start_matches('-');
        if flag.is_empty() {
            break;
        }
        flags.push(match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (flag.to_owned(), None),
        });
    }
    let rest = rest.trim();
    let json: Option<Vec<String>> = rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten();
    let args = json.unwrap_or_else(|| words::raw(rest).into_iter().map(words::unquoted).collect());
    Instruction { line, name, is_trigger, flags, rest: rest.to_owned(), args, heredocs: Vec::new() }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Returns the here-documents that an instruction opens: name, and true if tabs before the end marker are ignored.
fn heredocs(instruction: &Instruction) -> Vec<(String, bool)> {
    let is_json = instruction.rest.starts_with('[') && serde_json::from_str::<Vec<String>>(&instruction.rest).is_ok();
    if !HEREDOC.contains(&instruction.name.as_str()) || is_json {
        return Vec::new();
    }
    let opened = words::raw(&instruction.rest).into_iter().filter_map(|word| {
        let (number, rest) = word.split_once("<<")?;
        let (chomps, name) = rest.strip_prefix('-').map_or((false, rest), |name| (true, name));
        let is_one = number.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() && !name.contains('<');
        is_one.then(|| (words::unquoted(name), chomps))
    });
    opened.collect()
}
