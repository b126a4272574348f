//! Source of a deployment: a branch, a tag or a commit of the repository, or an image that is already in ECR.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::message::message;
use super::validate::{self, BrokenRule, FieldRefusal};

/// Revision of the repository to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "name")]
pub enum Revision {
    /// The newest commit of a branch, named without `refs/heads/`.
    Branch(String),
    /// The commit that a tag points to, named without `refs/tags/`; an annotated tag is peeled.
    Tag(String),
    /// A commit by its full id, 40 hexadecimal digits in lower case.
    Commit(String),
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// Source of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A revision of the repository, to be fetched and built.
    Revision(Revision),
    /// An image of the deployment's ECR repository, by its digest (`sha256:` and 64 hexadecimal digits in lower case), without fetch and build.
    Image(String),
}

/// The four source fields of a request, of which exactly one must be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFields {
    /// Name of the branch, without `refs/heads/`.
    pub branch: Option<String>,
    /// Full id of the commit.
    pub commit: Option<String>,
    /// Name of the tag, without `refs/tags/`.
    pub tag: Option<String>,
    /// An image in ECR, by its digest.
    pub image: Option<String>,
}

/// ECR repository of a target. An image's name must refer to it.
#[derive(Clone, Copy, Debug)]
pub struct TargetRepository<'a> {
    /// AWS account, twelve digits.
    pub account_id: &'a str,
    /// AWS region of the target.
    pub region: &'a str,
    /// Name of the ECR repository.
    pub repository: &'a str,
}

impl SourceFields {
    /// Returns the chosen revision, or the image as written.
    ///
    /// # Errors
    /// The field that is missing, given together with another one, or invalid.
    pub fn source(self) -> Result<Source, FieldRefusal> {
        let fields = [("branch", self.branch), ("commit", self.commit), ("tag", self.tag), ("image", self.image)];
        let mut given = fields.into_iter().filter_map(|(field, value)| Some((field, value?)));
        let Some((field, value)) = given.next() else {
            return Err(FieldRefusal::new("branch", message!("rule.source_missing")));
        };
        if let Some((second, _)) = given.next() {
            return Err(FieldRefusal::new(second, message!("rule.source_twice", field)));
        }
        let refused = |rule| FieldRefusal::new(field, rule);
        Ok(match field {
            "branch" => Source::Revision(Revision::Branch(checked(value, validate::branch).map_err(refused)?)),
            "tag" => Source::Revision(Revision::Tag(checked(value, validate::tag).map_err(refused)?)),
            "commit" => Source::Revision(Revision::Commit(
                checked(value, validate::commit).map_err(refused)?.to_ascii_lowercase(),
            )),
            _ => Source::Image(value),
        })
    }
}

fn checked(value: String, rule: fn(&str) -> Result<(), BrokenRule>) -> Result<String, BrokenRule> {
    rule(&value).map(|()| value)
}

impl Source {
    /// Returns the kind as stored and shown: `branch`, `tag`, `commit` or `image`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Revision(Revision::Branch(_)) => "branch",
            Self::Revision(Revision::Tag(_)) => "tag",
            Self::Revision(Revision::Commit(_)) => "commit",
            Self::Image(_) => "image",
        }
    }

    /// Returns the name of the branch or tag, the id of the commit or the digest of the image.
    pub fn name(&self) -> &str {
        match self {
            Self::Revision(Revision::Branch(name) | Revision::Tag(name) | Revision::Commit(name))
            | Self::Image(name) => name,
        }
    }

    /// Returns the name of the branch; none for another kind.
    pub fn branch(&self) -> Option<&str> {
        if let Self::Revision(Revision::Branch(name)) = self { Some(name) } else { None }
    }

    /// Returns the value of the column `branch`: the name of a branch, or kind and name, which is no valid branch name because of the space.
    /// An older program that knows branches only therefore rejects it instead of deploying something else.
    pub fn column(&self) -> String {
        self.branch().map_or_else(|| self.to_string(), str::to_owned)
    }

    /// Parses a value that [`Self::column`] returned.
    pub fn of_column(column: &str) -> Self {
        match column.split_once(' ') {
            Some(("tag", name)) => Self::Revision(Revision::Tag(name.to_owned())),
            Some(("commit", id)) => Self::Revision(Revision::Commit(id.to_owned())),
            Some(("image", digest)) => Self::Image(digest.to_owned()),
            // Also a kind that a newer program wrote: it is no valid branch name, so the fetch fails.
            _ => Self::Revision(Revision::Branch(column.to_owned())),
        }
    }

    /// Returns the four source fields, as an answer shows them.
    pub fn fields(&self) -> SourceFields {
        let name = || Some(self.name().to_owned());
        match self {
            Self::Revision(Revision::Branch(_)) => SourceFields { branch: name(), ..SourceFields::default() },
            Self::Revision(Revision::Tag(_)) => SourceFields { tag: name(), ..SourceFields::default() },
            Self::Revision(Revision::Commit(_)) => SourceFields { commit: name(), ..SourceFields::default() },
            Self::Image(_) => SourceFields { image: name(), ..SourceFields::default() },
        }
    }

    /// Checks that an image's name refers to `target`, and reduces it to its digest. Returns a revision unchanged.
    ///
    /// # Errors
    /// The rule that the image's name breaks.
    pub fn at(self, target: TargetRepository<'_>) -> Result<Self, FieldRefusal> {
        match self {
            Self::Image(image) => {
                image_digest(&image, target).map(Self::Image).map_err(|rule| FieldRefusal::new("image", rule))
            }
            revision @ Self::Revision(_) => Ok(revision),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// Returns the digest of an image that is given as `sha256:…` or by its full name in ECR.
fn image_digest(image: &str, target: TargetRepository<'_>) -> Result<String, BrokenRule> {
    let TargetRepository { account_id, region, repository } = target;
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    let host = format!("{account_id}.dkr.ecr.{region}.amazonaws.com{suffix}");
    let example = || message!("rule.image", host = &host, repository);
    let (name, digest) = match image.rsplit_once('@') {
        Some((name, digest)) => (Some(name), digest),
        None => (None, image),
    };
    let hex = digest.strip_prefix("sha256:").ok_or_else(|| message!("rule.image_tag", format = example()))?;
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(example());
    }
    let Some(name) = name else { return Ok(digest.to_owned()) };
    let Some((given, path)) = name.split_once('/') else { return Err(example()) };
    if given != host {
        return Err(message!("rule.image_registry", host));
    }
    if path != repository {
        return Err(message!("rule.image_repository", repository));
    }
    Ok(digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const TARGET: TargetRepository<'_> =
        TargetRepository { account_id: "123456789012", region: "ap-northeast-2", repository: "acme-shop" };

    fn chosen(field: &str, value: &str) -> Result<Source, FieldRefusal> {
        let mut fields = SourceFields::default();
        let value = Some(value.to_owned());
        match field {
            "branch" => fields.branch = value,
            "commit" => fields.commit = value,
            "tag" => fields.tag = value,
            _ => fields.image = value,
        }
        fields.source()
    }

    #[test]
    fn source_requires_exactly_one_field() {
        assert_eq!(SourceFields::default().source().unwrap_err().field, "branch");
        let two = SourceFields { branch: Some("main".into()), tag: Some("v1".into()), ..SourceFields::default() };
        let refused = two.source().unwrap_err();
        assert_eq!(refused.field, "tag");
        assert!(refused.rule.to_string().contains("together with branch"), "{}", refused.rule);
    }

    #[test]
    fn source_commit_is_a_full_id_in_lower_case() {
        let id = "9FCEB02D0AE598E95DC970B74767F19372D61AF8";
        assert_eq!(chosen("commit", id).unwrap().name(), id.to_ascii_lowercase());
        for bad in ["", "9fceb02", "HEAD", &"g".repeat(40), &"a".repeat(64), &format!(" {}", "a".repeat(39))] {
            assert_eq!(chosen("commit", bad).unwrap_err().field, "commit", "{bad:?}");
        }
    }

    #[test]
    fn source_tag_follows_the_rules_of_git() {
        assert_eq!(chosen("tag", "release/1.2").unwrap().to_string(), "tag release/1.2");
        for bad in ["", "-x", "a..b", "a b", "v1^{}", "a:b", "refs/../x"] {
            assert_eq!(chosen("tag", bad).unwrap_err().field, "tag", "{bad:?}");
        }
    }

    #[test]
    fn source_image_is_a_digest_in_the_targets_repository() {
        let host = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com";
        for ok in [DIGEST.to_owned(), format!("{host}/acme-shop@{DIGEST}")] {
            assert_eq!(chosen("image", &ok).unwrap().at(TARGET).unwrap(), Source::Image(DIGEST.to_owned()));
        }
        for (bad, why) in [
            (format!("{host}/acme-shop:v1"), "a tag may move"),
            ("latest".to_owned(), "a tag may move"),
            ("sha256:abc".to_owned(), "64 hexadecimal"),
            (DIGEST.to_uppercase(), "a tag may move"),
            (format!("sha256:{}", "A".repeat(64)), "64 hexadecimal"),
            (format!("acme-shop@{DIGEST}"), "64 hexadecimal"),
            (format!("999999999999.dkr.ecr.ap-northeast-2.amazonaws.com/acme-shop@{DIGEST}"), "copy the image"),
            (format!("123456789012.dkr.ecr.us-east-1.amazonaws.com/acme-shop@{DIGEST}"), "copy the image"),
            (format!("{host}.evil.example/acme-shop@{DIGEST}"), "copy the image"),
            (format!("{host}/acme-blog@{DIGEST}"), "ECR repository acme-shop"),
            (format!("{host}/acme-shop:v1@{DIGEST}"), "ECR repository acme-shop"),
        ] {
            let refused = chosen("image", &bad).unwrap().at(TARGET).unwrap_err();
            assert!(refused.field == "image" && refused.rule.to_string().contains(why), "{bad}: {}", refused.rule);
        }
        let china = TargetRepository { region: "cn-north-1", ..TARGET };
        let image = Source::Image(format!("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/acme-shop@{DIGEST}"));
        assert!(image.at(china).is_ok());
    }

    #[test]
    fn source_column_is_no_branch_for_an_older_program() {
        for (field, value) in [("tag", "v1"), ("commit", &*"a".repeat(40)), ("image", DIGEST)] {
            let source = chosen(field, value).unwrap();
            let column = source.column();
            assert!(validate::branch(&column).is_err(), "{column}");
            assert_eq!(Source::of_column(&column), source);
        }
        let branch = chosen("branch", "main").unwrap();
        assert_eq!((branch.column().as_str(), Source::of_column("main")), ("main", branch.clone()));
        assert!(Source::of_column("flavour x").branch().is_some_and(|name| validate::branch(name).is_err()));
    }
}
