//! Image builders that an operator configures.

use std::path::PathBuf;

use serde::Deserialize;

use super::principal::Scope;

/// Builder of deployments for which none is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = unknown_builder)]
pub enum BuilderChoice {
    /// BuildKit if the engine provides it, else the classic builder.
    #[default]
    Auto,
    /// BuildKit only; without it, the build fails.
    BuildKit,
    /// Classic builder of the engine.
    Classic,
}

fn unknown_builder(text: &str) -> String {
    format!("unknown builder {text:?}: use auto, buildkit or classic")
}

/// Builder from the operator's file.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedBuilder {
    /// Name in the log and the metrics.
    pub name: String,
    /// Type of the service at `endpoint`.
    pub kind: BuilderKind,
    /// Address as `unix:///path` or `tcp://host:port`.
    pub endpoint: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem` for mutual TLS.
    pub cert_path: Option<PathBuf>,
    /// Repositories that the builder serves; none: all that no other builder serves.
    pub scope: Option<Scope>,
    /// Maximum number of concurrent builds of one replica.
    pub permits: usize,
}

/// Type of the service at a builder's endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuilderKind {
    /// `buildkitd`, which also pushes the image.
    #[default]
    BuildKit,
    /// Docker engine, from which Panda pushes the image.
    Docker,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    builder: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    kind: BuilderKind,
    endpoint: String,
    cert_path: Option<PathBuf>,
    scopes: Option<Vec<String>>,
    #[serde(default = "one")]
    permits: usize,
}

fn one() -> usize {
    1
}

/// Parses a file with a table `[[builder]]` for each builder.
///
/// # Errors
/// The first mistake, with its builder and field.
pub fn parse_builders(file: &str) -> Result<Vec<NamedBuilder>, String> {
    let file: File = toml::from_str(file).map_err(|error| error.message().replace('\n', ", "))?;
    let mut builders: Vec<NamedBuilder> = Vec::new();
    for entry in file.builder {
        let refused = |field: &str, rule: String| format!("builder {:?}: {field} {rule}", entry.name);
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if entry.name.is_empty() || entry.name.len() > 64 || !entry.name.chars().all(fits) {
            return Err(refused("name", "must be 1 to 64 letters, digits, '-', '_' and '.'".to_owned()));
        }
        if builders.iter().any(|known| known.name == entry.name) {
            return Err(refused("name", "is used twice; give each builder its own".to_owned()));
        }
        let endpoint = address(&entry.endpoint).map_err(|rule| refused("endpoint", rule))?;
        if !(1..=256).contains(&entry.permits) {
            return Err(refused("permits", "must be from 1 to 256".to_owned()));
        }
        let scope =
            entry.scopes.as_deref().map(Scope::of).transpose().map_err(|rule| refused("scopes", rule.into()))?;
        let (kind, cert_path, permits) = (entry.kind, entry.cert_path.clone(), entry.permits);
        builders.push(NamedBuilder { name: entry.name.clone(), kind, endpoint, cert_path, scope, permits });
    }
    if builders.is_empty() { Err("there is no [[builder]]".to_owned()) } else { Ok(builders) }
}

/// Checks the address of a builder.
///
/// # Errors
/// The rule that the text breaks.
pub fn address(text: &str) -> Result<String, String> {
    let is_tcp =
        |rest: &str| rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match (text.strip_prefix("unix://"), text.strip_prefix("tcp://")) {
        (Some(path), _) if path.starts_with('/') && path.len() > 1 => Ok(text.to_owned()),
        (_, Some(rest)) if is_tcp(rest) => Ok(text.to_owned()),
        _ => Err("must be unix:///path/to/socket or tcp://host:port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_file_is_parsed() {
        let file = "[[builder]]\nname = \"acme\"\nendpoint = \"tcp://bk:1234\"\ncert_path = \"/certs\"\nscopes = [\"acme/*\"]\npermits = 4\n\
                    [[builder]]\nname = \"rest\"\nkind = \"docker\"\nendpoint = \"unix:///run/docker.sock\"\n";
        let builders = parse_builders(file).unwrap();
        assert_eq!((builders[0].kind, builders[0].permits), (BuilderKind::BuildKit, 4));
        assert!(builders[0].scope.as_ref().unwrap().holds("Acme", "shop"));
        assert_eq!((builders[1].kind, builders[1].permits, &builders[1].scope), (BuilderKind::Docker, 1, &None));
    }

    #[test]
    fn builders_file_with_a_mistake_names_builder_and_field() {
        let entry = "[[builder]]\nname = \"a\"\nendpoint = \"tcp://bk:1\"\n";
        for (file, named) in [
            (String::new(), "builder"),
            ("builder = []".to_owned(), "[[builder]]"),
            (format!("{entry}{entry}"), "twice"),
            (format!("{entry}permits = 0"), "permits"),
            (format!("{entry}scopes = [\"a/b/c\"]"), "scopes"),
            (format!("{entry}scope = [\"a/*\"]"), "scope"),
            (entry.replace("tcp://bk:1", "http://bk:1"), "endpoint"),
            (entry.replace("tcp://bk:1", "tcp://bk"), "endpoint"),
            (entry.replace("\"a\"", "\"a b\""), "name"),
            (format!("{entry}kind = \"podman\""), "podman"),
        ] {
            let error = parse_builders(&file).unwrap_err();
            assert!(error.contains(named), "{file}: {error}");
        }
    }
}
