//! `panda.toml` in a repository's root: build options that apply where a request has none.

use std::fmt;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::build_spec::BuildSpec;
use super::text;
use super::validate::FieldRefusal;

/// Name of the file in the repository's root.
pub const FILE: &str = "panda.toml";

/// Largest accepted file, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024;

/// Longest message of the TOML parser, in characters.
const MAX_MESSAGE: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    build: BuildSpec,
}

/// Mistake in a file, with its line and column (from 1, in characters) if known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    position: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{FILE}:{line}:{column}: {}", self.message),
            None => write!(f, "{FILE}: {}", self.message),
        }
    }
}

/// Parses the `[build]` table of a file and checks it by the rules of a request's `build`.
///
/// # Errors
/// The first mistake, with its position.
pub fn parse(file: &str) -> Result<BuildSpec, Invalid> {
    let parsed: File = toml::from_str(file).map_err(|error| {
        let message = text::cut(&error.message().replace('\n', ", "), MAX_MESSAGE);
        Invalid { position: error.span().map(|span| position(file, span.start)), message }
    })?;
    parsed.build.checked().map_err(|refused| {
        let message = format!("{} {}", refused.clone().within("build").field, refused.rule);
        Invalid { position: offset_of(file, &refused).map(|offset| position(file, offset)), message }
    })
}

/// Returns line and column of a byte offset.
fn position(file: &str, offset: usize) -> (usize, usize) {
    let before = file.get(..offset).unwrap_or(file);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Returns the byte offset of a rejected field's value.
fn offset_of(file: &str, refused: &FieldRefusal) -> Option<usize> {
    let table = DeTable::parse(file).ok()?;
    let build = table.get_ref().get("build")?.get_ref();
    let (field, index) = match refused.field.split_once('[') {
        Some((field, rest)) => (field, rest.trim_end_matches(']').parse::<usize>().ok()),
        None => (refused.field.as_str(), None),
    };
    let value = build.get(field)?;
    let item =
        index.and_then(|index| value.get_ref().as_array().and_then(|items: &toml::de::DeArray<'_>| items.get(index)));
    let within: &toml::Spanned<DeValue<'_>> = item.unwrap_or(value);
    Some(within.span().start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &str) -> String {
        parse(file).unwrap_err().to_string()
    }

    #[test]
    fn parses_every_build_option() {
        let file = "# how to build\n[build]\ndockerfile = \"services/api/Dockerfile\"\ncontext = \"services/api\"\n\
                    target = \"runtime\"\nplatform = \"linux/amd64\"\nsecrets = [\"npm\"]\n\n[build.args]\nVERSION = \"1\"\n";
        let build = parse(file).unwrap();
        assert_eq!(build.dockerfile.as_deref(), Some("services/api/Dockerfile"));
        assert_eq!((build.args["VERSION"].as_str(), build.secrets), ("1", vec!["npm".to_owned()]));
        for empty in ["", "# nothing\n", "[build]\n"] {
            assert!(parse(empty).unwrap().is_empty());
        }
    }

    #[test]
    fn mistake_has_line_and_column() {
        assert!(refused("[build\n").starts_with("panda.toml:1:7: "), "{}", refused("[build\n"));
        let unknown = refused("[build]\n  dockerfil = \"x\"\n");
        assert!(unknown.starts_with("panda.toml:2:3: ") && unknown.contains("dockerfil"), "{unknown}");
        let kind = refused("[build]\ntarget = 7\n");
        assert!(kind.starts_with("panda.toml:2:10: "), "{kind}");
        let table = refused("[deploy]\nx = 1\n");
        assert!(table.starts_with("panda.toml:1:2: ") && table.contains("deploy"), "{table}");
        let twice = refused("[build]\ntarget = \"a\"\ntarget = \"b\"\n");
        assert!(twice.starts_with("panda.toml:3:1: "), "{twice}");
    }

    #[test]
    fn broken_rule_has_line_and_column() {
        let path = refused("[build]\ncontext = \"../x\"\n");
        assert!(path.starts_with("panda.toml:2:11: build.context must be a path"), "{path}");
        let secret = refused("[build]\nsecrets = [\n  \"ok\",\n  \"not ok\",\n]\n");
        assert!(secret.starts_with("panda.toml:4:3: build.secrets[1] must be"), "{secret}");
        let args = refused("[build.args]\nBUILDKIT_SYNTAX = \"x\"\n");
        assert!(args.starts_with("panda.toml:1:") && args.contains("BUILDKIT_SYNTAX"), "{args}");
    }

    #[test]
    fn rejects_deep_nesting() {
        let most = usize::try_from(MAX_BYTES).unwrap() / 2;
        for (open, close) in [("[", "]"), ("{a=", "}")] {
            for depth in [1_000, most / open.len()] {
                let file = format!("[build]\ntarget = {}1{}\n", open.repeat(depth), close.repeat(depth));
                assert!(refused(&file).starts_with("panda.toml:"), "{depth} times {open}");
            }
        }
        let keys = format!("[build]\n{}a = 1\n", "a.".repeat(most / 2));
        assert!(refused(&keys).starts_with("panda.toml"), "dotted keys");
    }

    #[test]
    fn columns_count_characters() {
        assert!(refused("[build]\ntarget = \"한글\"; x\n").starts_with("panda.toml:2:14"), "after the value");
    }
}
