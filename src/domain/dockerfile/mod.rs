//! Parser of Dockerfiles, as far as needed to decide which builder can build them.
//!
//! [`Dockerfile::parse`] reads the file as BuildKit's parser does: directives, continued lines, here-documents, flags. It reports no errors:
//! the builder rejects a malformed file with a better message. [`Dockerfile::needs_buildkit`] lists every construct that the classic builder
//! lacks, most of which it ignores silently, and [`Dockerfile::references`] lists the images.

mod needs;
mod parse;
mod references;
mod words;

use std::collections::BTreeMap;

pub use needs::Need;
pub use references::{Reference, is_image_id};

/// Dockerfile, parsed into directives and instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// Directives at the top of the file: line, name in lower case, value.
    directives: Vec<(usize, String, String)>,
    instructions: Vec<Instruction>,
    /// Line of the first unread instruction, if the file has too many.
    unread: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Instruction {
    /// First line of the instruction, from 1.
    line: usize,
    /// Name in lower case: `run`.
    name: String,
    /// True for the instruction that an `ONBUILD` triggers.
    is_trigger: bool,
    /// Flags `--name=value`, without the dashes.
    flags: Vec<(String, Option<String>)>,
    /// Text after the flags, as written.
    rest: String,
    /// Words of `rest`, or strings of its JSON form, without quotes.
    args: Vec<String>,
    /// Names of the here-documents.
    heredocs: Vec<String>,
}

/// A `FROM` instruction and the instructions of its stage.
struct Stage<'a> {
    from: &'a Instruction,
    /// Name of the stage in lower case.
    name: Option<String>,
    /// Image or stage that the stage builds on, with known variables replaced.
    base: String,
    instructions: Vec<&'a Instruction>,
}

impl Dockerfile {
    /// Returns the stages in order. `args` are the build arguments, which override the defaults of `ARG` before the first `FROM`.
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

/// Returns the number of the stage, before stage number `before`, that `name` refers to. A number is accepted if `by_number`, as in
/// `COPY --from`.
fn stage_of(stages: &[Stage<'_>], name: &str, before: usize, by_number: bool) -> Option<usize> {
    let lower = name.to_lowercase();
    let earlier = stages.get(..before)?;
    let named = earlier.iter().rposition(|stage| stage.name.as_ref() == Some(&lower));
    named.or_else(|| name.parse().ok().filter(|number| by_number && *number < before))
}

#[cfg(test)]
mod tests;
