//! `panda.toml` in a repository's root: build options that apply where a request has none, and the health check of the new version.

use std::fmt;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::build_spec::BuildSpec;
use super::health_check::HealthCheckSpec;
use super::text;
use super::validate::FieldRefusal;

/// Name of the file in the repository's root.
pub const FILE: &str = "panda.toml";

/// Largest accepted file, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024;

/// Longest message of the TOML parser, in characters.
const MAX_MESSAGE: usize = 500;

/// Content of a file. Absent tables are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PandaToml {
    /// Table `[build]`: options of the image's build.
    pub build: BuildSpec,
    /// Table `[health_check]`: how the new version is checked.
    pub health_check: HealthCheckSpec,
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

/// Parses a file, and checks `[build]` by the rules of a request's `build`.
///
/// # Errors
/// The first mistake, with its position.
pub fn parse(file: &str) -> Result<PandaToml, Invalid> {
    let PandaToml { build, health_check } = toml::from_str(file).map_err(|error| {
        let message = text::cut(&error.message().replace('\n', ", "), MAX_MESSAGE);
        Invalid { position: error.span().map(|span| position(file, span.start)), message }
    })?;
    let invalid = |table: &'static str| move |refused: FieldRefusal| broken(file, table, &refused);
    Ok(PandaToml {
        build: build.checked().map_err(invalid("build"))?,
        health_check: health_check.checked().map_err(invalid("health_check"))?,
    })
}

fn broken(file: &str, table: &'static str, refused: &FieldRefusal) -> Invalid {
    let message = format!("{} {}", refused.clone().within(table).field, refused.rule);
    Invalid { position: offset_of(file, table, refused).map(|offset| position(file, offset)), message }
}

/// Returns line and column of a byte offset.
fn position(file: &str, offset: usize) -> (usize, usize) {
    let before = file.get(..offset).unwrap_or(file);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Returns the byte offset of a rejected field's value.
fn offset_of(file: &str, table: &str, refused: &FieldRefusal) -> Option<usize> {
    let tables = DeTable::parse(file).ok()?;
    let table = tables.get_ref().get(table)?.get_ref();
    let (field, index) = match refused.field.split_once('[') {
        Some((field, rest)) => (field, rest.trim_end_matches(']').parse::<usize>().ok()),
        None => (refused.field.as_str(), None),
    };
    let value = table.get(field)?;
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
        let build = parse(file).unwrap().build;
        assert_eq!(build.dockerfile.as_deref(), Some("services/api/Dockerfile"));
        assert_eq!((build.args["VERSION"].as_str(), build.secrets), ("1", vec!["npm".to_owned()]));
        for empty in ["", "# nothing\n", "[build]\n", "[health_check]\n"] {
            assert_eq!(parse(empty).unwrap(), PandaToml::default());
        }
    }

    #[test]
    fn parses_health_check() {
        let file = "[health_check]\npath = \"/api/healthz\"\ncodes = \"200-399,401\"\ncount = 3\ninterval = 5\nhost = \"shop.example.com\"\nskip = false\n";
        let check = parse(file).unwrap().health_check;
        assert_eq!((check.path.as_deref(), check.codes.as_deref()), (Some("/api/healthz"), Some("200-399,401")));
        assert_eq!((check.count, check.interval, check.skip), (Some(3), Some(5), Some(false)));
        let path = refused("[health_check]\npath = \"healthz\"\n");
        assert!(path.starts_with("panda.toml:2:8: health_check.path must be a path"), "{path}");
        let unknown = refused("[health_check]\nmatcher = \"200\"\n");
        assert!(unknown.starts_with("panda.toml:2:1: ") && unknown.contains("matcher"), "{unknown}");
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
