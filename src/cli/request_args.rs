//! Options of `panda deploy` and `panda schedule` that select the source, the build and the reason.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::domain::request::Purpose;

/// Source, build options and reason of a deployment request.
#[derive(Args, Clone, Debug, Default)]
pub struct RequestArgs {
    /// Branch; default: that of the checkout or of the connection, unless a commit, tag or image is given
    #[arg(long, group = "source")]
    pub branch: Option<String>,
    /// Full id of the commit
    #[arg(long, value_name = "SHA", group = "source")]
    pub commit: Option<String>,
    /// Name of the tag to deploy
    #[arg(long, group = "source")]
    pub tag: Option<String>,
    /// Digest (sha256:…) of an image in the target's ECR repository; nothing is cloned or built
    #[arg(long, value_name = "DIGEST", group = "source")]
    pub image: Option<String>,
    /// Path of the Dockerfile, relative to the repository's root
    #[arg(long, value_name = "PATH")]
    pub dockerfile: Option<String>,
    /// Path of the build context, relative to the repository's root
    #[arg(long, value_name = "PATH")]
    pub context: Option<String>,
    /// Stage of the Dockerfile to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Build argument; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = argument)]
    pub build_arg: Vec<(String, String)>,
    /// Platform such as linux/arm64
    #[arg(long)]
    pub platform: Option<String>,
    /// Name of a build secret that the build may read; may be repeated
    #[arg(long, value_name = "NAME")]
    pub secret: Vec<String>,
    /// Reason, recorded with the deployment
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Purpose: planned, hotfix or rollback
    #[arg(long)]
    pub kind: Option<Purpose>,
    /// Label for reports, which replaces that of the target's policy; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
}

fn argument(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a label, NAME=VALUE.
pub fn label(text: &str) -> Result<(String, String), String> {
    argument(text)
}

impl RequestArgs {
    /// The fields of a request; `branch` is the default source.
    pub fn fields(&self, branch: &str) -> Map<String, Value> {
        let mut fields = self.given();
        if self.source().is_none() {
            fields.insert("branch".to_owned(), json!(branch));
        }
        fields
    }

    /// Merges the given options into `whole`, the fields of a request. A given source replaces the existing one.
    pub fn change(&self, whole: &mut Value) {
        if self.source().is_some()
            && let Some(fields) = whole.as_object_mut()
        {
            fields.retain(|name, _| !SOURCES.contains(&name.as_str()));
            // An image is not built.
            if self.image.is_some() {
                fields.remove("build");
            }
        }
        for (name, value) in self.given() {
            match value {
                Value::Object(members) => members.into_iter().for_each(|(member, value)| whole[&name][member] = value),
                value => whole[&name] = value,
            }
        }
    }

    /// Sets the source of a checkout, unless one is given: its branch, or its commit where no branch is checked out.
    pub fn default_source(&mut self, branch: Option<&str>, commit: Option<&str>) {
        if self.source().is_none() {
            self.branch = branch.map(str::to_owned);
            self.commit = commit.filter(|_| branch.is_none()).map(str::to_owned);
        }
    }

    /// True when no option is given.
    pub fn is_empty(&self) -> bool {
        self.given().is_empty()
    }

    /// The given branch, commit, tag or image.
    pub fn source(&self) -> Option<&String> {
        [&self.branch, &self.commit, &self.tag, &self.image].into_iter().find_map(Option::as_ref)
    }

    fn given(&self) -> Map<String, Value> {
        let texts = |pairs: &[(&str, &Option<String>)]| -> Map<String, Value> {
            pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?)))).collect()
        };
        let mut build = texts(&[
            ("dockerfile", &self.dockerfile),
            ("context", &self.context),
            ("target", &self.target),
            ("platform", &self.platform),
        ]);
        if !self.build_arg.is_empty() {
            let args: Map<String, Value> =
                self.build_arg.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            build.insert("args".to_owned(), Value::Object(args));
        }
        if !self.secret.is_empty() {
            build.insert("secrets".to_owned(), json!(self.secret));
        }
        let mut fields = texts(&[
            ("branch", &self.branch),
            ("commit", &self.commit),
            ("tag", &self.tag),
            ("image", &self.image),
            ("reason", &self.reason),
        ]);
        fields.extend(self.kind.map(|kind| ("kind".to_owned(), json!(kind))));
        if !self.label.is_empty() {
            let labels: Map<String, Value> =
                self.label.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            fields.insert("labels".to_owned(), Value::Object(labels));
        }
        if !build.is_empty() {
            fields.insert("build".to_owned(), Value::Object(build));
        }
        fields
    }
}

/// Flattens a deployment of a response for display: the requested source in place of the branch, and the rest of `requested` as members.
pub fn flatten(deployment: &mut Value) {
    let Some(members) = deployment.as_object_mut() else { return };
    let Some(Value::Object(requested)) = members.remove("requested") else { return };
    for (name, value) in requested {
        let shown = match (name.as_str(), value) {
            (_, Value::Null) | ("branch", _) => continue,
            ("kind", kind) if kind == json!(Purpose::default()) => continue,
            (source @ ("commit" | "tag" | "image"), Value::String(what)) => {
                ("branch", json!(format!("{source} {what}")))
            }
            (other, value) => (other, value),
        };
        members.insert(shown.0.to_owned(), shown.1);
    }
}

/// The source fields, of which a request has exactly one.
const SOURCES: [&str; 4] = ["branch", "commit", "tag", "image"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_to_the_connections_branch() {
        let tag = RequestArgs { tag: Some("v1".to_owned()), ..RequestArgs::default() };
        assert_eq!(Value::Object(RequestArgs::default().fields("main")), json!({"branch": "main"}));
        assert_eq!(Value::Object(tag.fields("main")), json!({"tag": "v1"}));
    }

    #[test]
    fn change_replaces_only_the_source() {
        let labels = json!({"team": "a", "tier": "1"});
        let mut whole = json!({"branch": "main", "owner": "acme", "build": {"target": "runtime"}, "labels": labels});
        let what = RequestArgs {
            commit: Some("a".repeat(40)),
            build_arg: vec![("A".to_owned(), "1=2".to_owned())],
            label: vec![("team".to_owned(), "b".to_owned())],
            ..RequestArgs::default()
        };
        what.change(&mut whole);
        let build = json!({"target": "runtime", "args": {"A": "1=2"}});
        let labels = json!({"team": "b", "tier": "1"});
        assert_eq!(whole, json!({"commit": "a".repeat(40), "owner": "acme", "build": build, "labels": labels}));
        let image = RequestArgs { image: Some("sha256:0".to_owned()), ..RequestArgs::default() };
        image.change(&mut whole);
        assert_eq!(whole, json!({"image": "sha256:0", "owner": "acme", "labels": labels}));
    }

    #[test]
    fn shows_the_source_as_branch() {
        let mut tag =
            json!({"branch": null, "requested": {"branch": null, "tag": "v1", "kind": "hotfix", "reason": "x"}});
        flatten(&mut tag);
        assert_eq!(tag, json!({"branch": "tag v1", "kind": "hotfix", "reason": "x"}));
        let mut branch = json!({"branch": "main", "requested": {"branch": "main", "tag": null, "kind": "planned"}});
        flatten(&mut branch);
        assert_eq!(branch, json!({"branch": "main"}));
    }

    #[test]
    fn parses_build_arguments() {
        assert_eq!(argument("A=b=c").unwrap(), ("A".to_owned(), "b=c".to_owned()));
        assert!(argument("A").unwrap_err().contains("NAME=VALUE"));
    }
}
