//! Build options that a request or `panda.toml` may set, and their validation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::message::message;
use super::text;
use super::validate::{BrokenRule, FieldRefusal};

/// Longest path of a Dockerfile or context, in bytes.
const MAX_PATH: usize = 1_024;

/// Largest total size of the names and values of arguments, in bytes.
const MAX_ARGS: usize = 64 * 1024;

/// Maximum number of secrets of a build.
pub const MAX_SECRETS: usize = 20;

/// Longest name of a stage, an argument or a secret, in bytes.
const MAX_NAME: usize = 128;

/// Build options as users write them, in a request's `build` or in `panda.toml`. Absent options have Panda's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildSpec {
    /// Path of the Dockerfile, relative to the repository's root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Path of the build context's folder, relative to the repository's root; `.` is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Stage to build; by default the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Values of build arguments, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Platform such as `linux/arm64`; by default the builder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Names of stored secrets that `RUN --mount=type=secret,id=NAME` may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Build options that remain once Dockerfile and context are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct BuildOptions {
    /// Stage to build; by default the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Values of build arguments, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Platform such as `linux/arm64`; by default the builder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Names of the stored secrets that the build may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

impl BuildSpec {
    /// Returns true if no option is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Validates every field and shortens the paths.
    ///
    /// # Errors
    /// The first invalid field, such as `secrets[0]`, with the remedy.
    pub fn checked(mut self) -> Result<Self, FieldRefusal> {
        if let Some(dockerfile) = &mut self.dockerfile {
            *dockerfile = path(dockerfile).and_then(file).map_err(|rule| FieldRefusal::new("dockerfile", rule))?;
        }
        if let Some(context) = &mut self.context {
            *context = path(context).map_err(|rule| FieldRefusal::new("context", rule))?;
        }
        if let Some(target) = &self.target {
            stage(target).map_err(|rule| FieldRefusal::new("target", rule))?;
        }
        if let Some(platform) = &self.platform {
            is_platform(platform).map_err(|rule| FieldRefusal::new("platform", rule))?;
        }
        self.check_args().map_err(|rule| FieldRefusal::new("args", rule))?;
        if self.secrets.len() > MAX_SECRETS {
            return Err(FieldRefusal::new("secrets", message!("rule.secrets_max", max = MAX_SECRETS)));
        }
        for (at, name) in self.secrets.iter().enumerate() {
            let refused = |rule: BrokenRule| FieldRefusal::new(format!("secrets[{at}]"), rule);
            secret_name(name).map_err(refused)?;
            if self.secrets[..at].contains(name) {
                return Err(refused(message!("rule.secret_twice")));
            }
        }
        Ok(self)
    }

    fn check_args(&self) -> Result<(), BrokenRule> {
        let mut total = 0;
        for (name, value) in &self.args {
            let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let fits = name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !(starts && fits) {
                return Err(message!("rule.arg_name", name = format!("{:?}", text::cut(name, 40))));
            }
            if is_reserved(name) {
                return Err(message!("rule.arg_reserved", name));
            }
            if value.contains('\0') {
                return Err(message!("rule.arg_nul", name));
            }
            total += name.len() + value.len();
        }
        if total > MAX_ARGS {
            return Err(message!("rule.args_max", max = MAX_ARGS));
        }
        Ok(())
    }

    /// Fills absent options from `defaults`. Merges arguments by name; replaces secrets as a whole.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        let mut args = defaults.args;
        args.extend(self.args);
        Self {
            dockerfile: self.dockerfile.or(defaults.dockerfile),
            context: self.context.or(defaults.context),
            target: self.target.or(defaults.target),
            args,
            platform: self.platform.or(defaults.platform),
            secrets: if self.secrets.is_empty() { defaults.secrets } else { self.secrets },
        }
    }

    /// Drops Dockerfile and context, once both are resolved.
    pub fn into_options(self) -> BuildOptions {
        BuildOptions { target: self.target, args: self.args, platform: self.platform, secrets: self.secrets }
    }
}

/// Validates a path within the repository and returns its shortest form; the root is `.`.
fn path(value: &str) -> Result<String, BrokenRule> {
    let parts: Vec<&str> = value.trim_end_matches('/').split('/').filter(|part| *part != ".").collect();
    let ok = (1..=MAX_PATH).contains(&value.len())
        && !value.starts_with('/')
        && !value.contains(|c: char| c.is_control() || c == '\\')
        && parts.iter().all(|part| !part.is_empty() && *part != "..");
    if !ok {
        return Err(message!("rule.build_path", max = MAX_PATH));
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

fn file(path: String) -> Result<String, BrokenRule> {
    if path == "." { Err(message!("rule.build_file")) } else { Ok(path) }
}

fn stage(value: &str) -> Result<(), BrokenRule> {
    let ok = (1..=MAX_NAME).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok { Ok(()) } else { Err(message!("rule.build_target", max = MAX_NAME)) }
}

fn is_platform(value: &str) -> Result<(), BrokenRule> {
    let word = |part: &str, more: &[u8]| {
        (1..=32).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    let parts: Vec<&str> = value.split('/').collect();
    let ok = matches!(parts.as_slice(), [os, arch, variant @ ..]
        if variant.len() <= 1 && word(os, b"") && word(arch, b"_") && variant.iter().all(|variant| word(variant, b".")));
    if ok { Ok(()) } else { Err(message!("rule.platform")) }
}

/// Returns true if the argument has a meaning for Panda or BuildKit. Arguments that select the frontend or the cache's namespace would break
/// the isolation of tenants.
fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// Validates the name of a build secret.
///
/// # Errors
/// The rule that it breaks.
pub fn secret_name(value: &str) -> Result<(), BrokenRule> {
    let ok = (1..=64).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if ok { Ok(()) } else { Err(message!("rule.secret_name")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(spec: BuildSpec) -> String {
        spec.checked().unwrap_err().field
    }

    #[test]
    fn build_paths_are_validated_and_shortened() {
        let spec = |dockerfile: &str, context: &str| BuildSpec {
            dockerfile: Some(dockerfile.to_owned()),
            context: Some(context.to_owned()),
            ..BuildSpec::default()
        };
        let short = spec("./services/api/Dockerfile", "services/./api/").checked().unwrap();
        assert_eq!(
            (short.dockerfile.unwrap().as_str(), short.context.unwrap().as_str()),
            ("services/api/Dockerfile", "services/api")
        );
        assert_eq!(spec("Dockerfile", "./").checked().unwrap().context.unwrap(), ".");
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "a\nb", "a\0", "/", "..", &"x".repeat(1025)]
        {
            assert_eq!(field(spec(bad, ".")), "dockerfile", "{bad:?}");
            assert_eq!(field(spec("Dockerfile", bad)), "context", "{bad:?}");
        }
        assert_eq!(field(spec(".", ".")), "dockerfile");
    }

    #[test]
    fn build_args_reject_reserved_names() {
        let spec = |name: &str, value: &str| BuildSpec {
            args: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..BuildSpec::default()
        };
        spec("HTTP_PROXY", "http://proxy").checked().unwrap();
        spec("VERSION", "a\nb ü").checked().unwrap();
        for bad in [
            "",
            "1A",
            "A-B",
            "A B",
            "A=B",
            "Ä",
            "BUILDKIT_SYNTAX",
            "BUILDKIT_CACHE_MOUNT_NS",
            "buildkit_syntax",
            "SOURCE_DATE_EPOCH",
        ] {
            assert_eq!(field(spec(bad, "x")), "args", "{bad:?}");
        }
        assert_eq!(field(spec("A", "\0")), "args");
        assert_eq!(field(spec("A", &"x".repeat(MAX_ARGS))), "args");
        spec("A", &"x".repeat(MAX_ARGS - 1)).checked().unwrap();
    }

    #[test]
    fn build_target_platform_and_secrets_are_validated() {
        let with = |change: fn(&mut BuildSpec, String), value: &str| {
            let mut spec = BuildSpec::default();
            change(&mut spec, value.to_owned());
            spec.checked()
        };
        let target = |spec: &mut BuildSpec, value| spec.target = Some(value);
        let platform = |spec: &mut BuildSpec, value| spec.platform = Some(value);
        let secret = |spec: &mut BuildSpec, value| spec.secrets = vec![value];
        with(target, "runtime-1.2_x").unwrap();
        for ok in ["linux/amd64", "linux/arm64/v8", "linux/386"] {
            with(platform, ok).unwrap();
        }
        with(secret, "npm_token").unwrap();
        for bad in ["", "a b", "-x", "a;b", "a/b"] {
            assert_eq!(with(target, bad).unwrap_err().field, "target");
        }
        for bad in ["", "linux", "linux/amd64,linux/arm64", "LINUX/AMD64", "linux/arm64/v8/x", "linux/"] {
            assert_eq!(with(platform, bad).unwrap_err().field, "platform");
        }
        for bad in ["", "1x", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(with(secret, bad).unwrap_err().field, "secrets[0]");
        }
        let twice = BuildSpec { secrets: vec!["a".into(), "a".into()], ..BuildSpec::default() };
        assert_eq!(field(twice), "secrets[1]");
        let many = BuildSpec { secrets: (0..21).map(|n| format!("s{n}")).collect(), ..BuildSpec::default() };
        assert_eq!(field(many), "secrets");
    }

    #[test]
    fn build_request_overrides_defaults() {
        let args = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let defaults = BuildSpec {
            dockerfile: Some("a/Dockerfile".into()),
            target: Some("runtime".into()),
            args: args(&[("A", "1"), ("B", "1")]),
            secrets: vec!["npm".into()],
            ..BuildSpec::default()
        };
        let request = BuildSpec { target: Some("test".into()), args: args(&[("B", "2")]), ..BuildSpec::default() };
        let merged = request.or(defaults);
        assert_eq!(merged.dockerfile.as_deref(), Some("a/Dockerfile"));
        assert_eq!(merged.target.as_deref(), Some("test"));
        assert_eq!(merged.args, args(&[("A", "1"), ("B", "2")]));
        assert_eq!(merged.secrets, ["npm"]);
    }
}
