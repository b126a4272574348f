//! What a Dockerfile says, as far as it decides which builder can build it.
//!
//! [`Dockerfile::parse`] reads the file as BuildKit's parser does: directives, continued lines, here-documents, flags. It judges nothing: a
//! malformed file is the builder's to refuse, in its own words. [`Dockerfile::needs_buildkit`] then lists every construct that the classic
//! builder lacks, most of which it drops without a word, and [`Dockerfile::references`] lists the images.

mod needs;
mod parse;
mod references;
mod words;

use std::collections::BTreeMap;

pub use needs::Need;
pub use references::{Reference, is_image_id};

/// A Dockerfile that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// Directives at its top, in lower case, with their lines.
    directives: Vec<(usize, String, String)>,
    instructions: Vec<Instruction>,
    /// The line of the first instruction that was not read, of a file with too many.
    unread: Option<usize>,
}

/// One instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Instruction {
    /// Its first line, from 1.
    line: usize,
    /// Its name in lower case: `run`.
    name: String,
    /// Whether it is the trigger of an `ONBUILD`.
    is_trigger: bool,
    /// `--name=value` of each flag, without the dashes.
    flags: Vec<(String, Option<String>)>,
    /// What follows the flags, as it is written.
    rest: String,
    /// The words of `rest`, or the strings of its JSON form, without quotes.
    args: Vec<String>,
    /// Names of its here-documents.
    heredocs: Vec<String>,
}

/// A stage: a `FROM` and what follows.
struct Stage<'a> {
    from: &'a Instruction,
    /// In lower case.
    name: Option<String>,
    /// The image or stage that it builds on, its variables replaced as far as they are known.
    base: String,
    instructions: Vec<&'a Instruction>,
}

impl Dockerfile {
    /// The stages, in order. `args` are the build arguments, which replace the defaults of `ARG` before the first `FROM`.
    fn stages(&self, args: &BTreeMap<String, String>) -> Vec<Stage<'_>> {
        let mut global: BTreeMap<&str, String> = BTreeMap::new();
        let mut stages: Vec<Stage<'_>> = Vec::new();
        for instruction in &self.instructions {
            if instruction.name == "from" {
                let base = instruction.args.first().map(|base| words::expand(base, &|name| global.get(name).cloned()));
                let name = match instruction.args.as_slice() {
                    [_, keyword, name, ..] if keyword.eq_ignore_ascii_case("as") => Some(name.to_lowercase()),
                    _ => None,
                };
                let base = base.unwrap_or_default();
                stages.push(Stage { from: instruction, name, base, instructions: Vec::new() });
            } else if let Some(stage) = stages.last_mut() {
                stage.instructions.push(instruction);
            } else if instruction.name == "arg" {
                for arg in &instruction.args {
                    let (name, default) = arg.split_once('=').map_or((arg.as_str(), None), |(n, d)| (n, Some(d)));
                    let given = args.get(name).cloned();
                    let default = || default.map(|text| words::expand(text, &|name| global.get(name).cloned()));
                    if let Some(value) = given.or_else(default) {
                        global.insert(name, value);
                    }
                }
            }
        }
        stages
    }
}

/// The number of the stage that `name` means to the stage number `before`: by name, or by number where `COPY --from` may use one.
fn stage_of(stages: &[Stage<'_>], name: &str, before: usize, by_number: bool) -> Option<usize> {
    let lower = name.to_lowercase();
    let earlier = stages.get(..before)?;
    let named = earlier.iter().rposition(|stage| stage.name.as_ref() == Some(&lower));
    named.or_else(|| name.parse().ok().filter(|number| by_number && *number < before))
}

#[cfg(test)]
mod tests;
