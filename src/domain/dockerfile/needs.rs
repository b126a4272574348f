//! Constructs of a Dockerfile that require BuildKit.

use std::collections::{BTreeMap, HashMap};

use super::{Dockerfile, Instruction, Reference, is_image_id, words};
use crate::domain::text;

/// Arguments that BuildKit sets; the classic builder leaves them empty.
const AUTOMATIC: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Maximum number of constructs that are listed.
const MAX_NEEDS: usize = 20;

/// A construct that the classic builder rejects, ignores or interprets differently.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("line {line}: {what} ({remedy})")]
pub struct Need {
    /// Line of the Dockerfile, from 1.
    pub line: usize,
    /// Description of the construct.
    pub what: String,
    /// Alternative without the construct, as an imperative.
    pub remedy: &'static str,
}

impl Dockerfile {
    /// Lists every construct outside the classic builder's language, in the order of lines, at most 20. `target` is the stage to build, `args`
    /// are the build arguments.
    ///
    /// The list includes stages that the result does not need, because the classic builder runs them too and fails if one fails. It also
    /// includes images that the classic builder may resolve on the engine instead of in a registry.
    pub fn needs_buildkit(&self, target: Option<&str>, args: &BTreeMap<String, String>) -> Vec<Need> {
        let mut needs = Vec::new();
        for (line, name, value) in &self.directives {
            let need = match name.as_str() {
                "syntax" => Some((format!("`# syntax={value}`"), "remove the line if the file uses nothing newer")),
                "check" if value.replace(' ', "").contains("error=true") => {
                    Some((format!("`# check={value}`"), "remove `error=true`"))
                }
                _ => None,
            };
            needs.extend(need.map(|(what, remedy)| Need { line: *line, what, remedy }));
        }
        needs.extend(self.unread.map(|line| Need {
            line,
            what: "more instructions than Panda checks".to_owned(),
            remedy: "shorten the file",
        }));
        let mut values: HashMap<&str, String> = HashMap::new();
        for instruction in &self.instructions {
            needs.extend(instruction.needs(&values).into_iter().map(|(what, remedy)| Need {
                line: instruction.line,
                what,
                remedy,
            }));
            if matches!(instruction.name.as_str(), "arg" | "env") {
                for (name, default) in instruction.args.iter().filter_map(|arg| arg.split_once('=')) {
                    let value = args.get(name).filter(|_| instruction.name == "arg").map_or(default, String::as_str);
                    values.insert(name, value.to_owned());
                }
            }
        }
        needs.extend(self.unused_stages(target, args).into_iter().map(|(line, name)| Need {
            line,
            what: format!("the stage `{name}`, which the classic builder runs although the result does not need it"),
            remedy: "remove the stage, or move it after the target stage",
        }));
        let ids = self.references(args).into_iter().filter(|reference| is_image_id(&reference.name));
        needs.extend(ids.map(|Reference { line, name }| Need {
            line,
            what: format!("the image `{name}`, which the classic builder may take for the id of a local image"),
            remedy: "write the name with its registry and tag",
        }));
        needs.sort_by_key(|need| need.line);
        needs.truncate(MAX_NEEDS);
        needs
    }
}

impl Dockerfile {
    /// Returns the frontend image that the file names with `# syntax=`, and its line.
    pub fn syntax(&self) -> Option<(usize, &str)> {
        let named = self.directives.iter().find(|(_, name, _)| name == "syntax");
        // Words after the image are options of the frontend.
        named.and_then(|(line, _, value)| Some((*line, value.split_whitespace().next()?)))
    }

    /// Lists every construct that the BuildKit of engines before version 23 does not support, in the order of lines, at most 20.
    pub fn needs_newer_buildkit(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for instruction in &self.instructions {
            let upper = instruction.shown();
            let mut need = |what: String, remedy| needs.push(Need { line: instruction.line, what, remedy });
            if let Some(name) = instruction.heredocs.first() {
                need(format!("the here-document `<<{name}` of {upper}"), NEWER);
            }
            for (flag, _) in &instruction.flags {
                let is_known = instruction.is_classic(flag)
                    || matches!(
                        (instruction.name.as_str(), flag.as_str()),
                        ("run", "mount") | ("add" | "copy", "chmod")
                    );
                if !is_known {
                    need(format!("`{upper} --{flag}`"), NEWER);
                }
            }
            if instruction.name == "add" && instruction.args.iter().any(|source| is_git(source)) {
                need(format!("`{upper}` of a git repository"), NEWER);
            }
        }
        needs.truncate(MAX_NEEDS);
        needs
    }
}

/// Remedy for an engine with an old BuildKit, which can use a newer frontend.
const NEWER: &str = "begin the file with `# syntax=docker/dockerfile:1`, or use Docker Engine 23 or newer";

impl Instruction {
    /// Returns the name in upper case, with `ONBUILD` if it is a trigger.
    fn shown(&self) -> String {
        format!("{}{}", if self.is_trigger { "ONBUILD " } else { "" }, self.name.to_uppercase())
    }

    fn needs(&self, values: &HashMap<&str, String>) -> Vec<(String, &'static str)> {
        let upper = self.shown();
        let mut needs = Vec::new();
        if let Some(name) = self.heredocs.first() {
            needs.push((format!("the here-document `<<{name}` of {upper}"), heredoc_remedy(&self.name)));
        }
        for (flag, _) in &self.flags {
            if !self.is_classic(flag) {
                needs.push((format!("`{upper} --{flag}`"), flag_remedy(&self.name, flag)));
            }
        }
        match self.name.as_str() {
            "add" => {
                let sources = self.args.split_last().map_or(&[][..], |(_, sources)| sources);
                let read = |source: &String| words::expand(source, &|name| values.get(name).cloned());
                if let Some(source) = sources.iter().map(read).find(|source| is_git(source)) {
                    let shown = text::cut(&source, 100);
                    needs.push((format!("`{upper}` of the git repository `{shown}`"), "clone it in a RUN step"));
                }
            }
            "arg" => {
                let names = self.args.iter().map(|arg| arg.split('=').next().unwrap_or_default());
                needs.extend(names.filter(|name| AUTOMATIC.contains(name)).map(|name| {
                    (
                        format!("`{upper} {name}`, which is empty in the classic builder"),
                        "give the value under another name",
                    )
                }));
            }
            "from" => {
                let platform = self.flags.iter().filter_map(|(_, value)| value.as_deref());
                let texts = platform.chain(self.args.first().map(String::as_str));
                let name = texts.flat_map(words::variables).find(|name| AUTOMATIC.contains(name));
                needs.extend(name.map(|name| {
                    (format!("`FROM` with `${name}`, which is empty in the classic builder"), "write the platform out")
                }));
            }
            _ => {}
        }
        needs
    }

    /// Returns true if the classic builder of every engine since 20.10 knows the flag. Also returns true for flags of instructions that never
    /// have one, because every builder rejects them with a better message.
    fn is_classic(&self, flag: &str) -> bool {
        match self.name.as_str() {
            "from" => flag == "platform",
            "copy" => matches!(flag, "chown" | "from"),
            "add" => flag == "chown",
            "healthcheck" => matches!(flag, "interval" | "timeout" | "start-period" | "retries"),
            "run" => false,
            _ => true,
        }
    }
}

fn heredoc_remedy(instruction: &str) -> &'static str {
    if instruction == "run" { "write `RUN first && second`" } else { "keep the file in the repository and copy it" }
}

fn flag_remedy(instruction: &str, flag: &str) -> &'static str {
    match (instruction, flag) {
        (_, "chmod") => "set the mode in git, or with a RUN step",
        (_, "link") | ("healthcheck", _) => "remove the flag",
        (_, "checksum") => "download and check in a RUN step",
        (_, "exclude") => "use an ignore file",
        ("run", "mount") => "do without the mount",
        _ => "do without the flag",
    }
}

/// Returns true if BuildKit's `ADD` clones `source` as a Git repository. The classic builder downloads it as a file, or searches the context.
fn is_git(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    let path = lower.split(['#', '?']).next().unwrap_or_default();
    let is_scp = || {
        let (user, rest) = path.split_once('@')?;
        let is_user =
            !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        (is_user && rest.split_once(':')?.0.contains('.')).then_some(())
    };
    ["git://", "ssh://", "git@"].iter().any(|start| lower.starts_with(start))
        || (path.starts_with("http://") || path.starts_with("https://"))
            && path.trim_end_matches('/').strip_suffix(".git").is_some()
        || is_scp().is_some()
}
