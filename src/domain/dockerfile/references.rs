//! Images that a Dockerfile references.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dockerfile, stage_of};

/// Image that a Dockerfile references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Line of the Dockerfile, from 1.
    pub line: usize,
    /// Name of the image, with known variables replaced.
    pub name: String,
}

impl Dockerfile {
    /// Lists the images of `FROM`, `COPY --from` and `RUN --mount=from`, without stages and `scratch`. `args` are the build arguments.
    pub fn references(&self, args: &BTreeMap<String, String>) -> Vec<Reference> {
        let stages = self.stages(args);
        let mut references = Vec::new();
        for (number, stage) in stages.iter().enumerate() {
            let is_image = stage_of(&stages, &stage.base, number, false).is_none() && stage.base != "scratch";
            if is_image && !stage.base.is_empty() {
                references.push(Reference { line: stage.from.line, name: stage.base.clone() });
            }
            for instruction in &stage.instructions {
                for name in sources(instruction) {
                    if stage_of(&stages, &name, number, true).is_none() && name != "scratch" {
                        references.push(Reference { line: instruction.line, name });
                    }
                }
            }
        }
        references
    }

    /// Lists the stages that the result does not need: the line of their `FROM` and their name or number. `target` is the stage to build, by
    /// default the last one. Stages after the target are not listed, because no builder builds them.
    pub(super) fn unused_stages(&self, target: Option<&str>, args: &BTreeMap<String, String>) -> Vec<(usize, String)> {
        let stages = self.stages(args);
        let result = match target {
            Some(target) => stage_of(&stages, target, stages.len(), true),
            None => stages.len().checked_sub(1),
        };
        let Some(result) = result else { return Vec::new() };
        let mut needed = BTreeSet::new();
        let mut left = vec![result];
        while let Some(number) = left.pop() {
            if !needed.insert(number) {
                continue;
            }
            let stage = &stages[number];
            left.extend(stage_of(&stages, &stage.base, number, false));
            let named = stage.instructions.iter().flat_map(|instruction| sources(instruction));
            left.extend(named.filter_map(|name| stage_of(&stages, &name, number, true)));
        }
        let unused = (0..result).filter(|number| !needed.contains(number));
        let named = |number: usize| stages[number].name.clone().unwrap_or_else(|| number.to_string());
        unused.map(|number| (stages[number].from.line, named(number))).collect()
    }
}

/// Returns the images and stages that an instruction takes files from.
fn sources(instruction: &super::Instruction) -> Vec<String> {
    let of_mount = |value: &str| value.split(',').find_map(|part| part.trim().strip_prefix("from=").map(str::to_owned));
    let flags = instruction.flags.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    let sources = flags.filter_map(|(name, value)| match (instruction.name.as_str(), name) {
        ("copy" | "add", "from") => Some(value.to_owned()),
        ("run", "mount") => of_mount(value),
        _ => None,
    });
    sources.filter(|name| !name.is_empty()).collect()
}

/// Returns true if an engine could take `name` for the id of a local image, which may belong to another tenant: `FROM 4f2a` and
/// `FROM sha256:4f2a…` do not contact a registry.
pub fn is_image_id(name: &str) -> bool {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex(name) || name.split_once(':').is_some_and(|(kind, id)| kind.eq_ignore_ascii_case("sha256") && is_hex(id))
}
