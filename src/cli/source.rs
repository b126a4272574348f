//! Which connections a deployment uses: given by id, or found among those that are there when only one fits.

use super::error::CliError;
use super::types::{Aws, Connections, Github};

/// What the user said.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `--owner`
    pub owner: Option<String>,
    /// `--repo`
    pub repo: Option<String>,
    /// `--branch`
    pub branch: Option<String>,
    /// `--github`
    pub github: Option<String>,
    /// `--aws`
    pub aws: Option<String>,
}

/// The only pair that fits.
pub fn choose<'a>(wanted: &Wanted, connections: &'a Connections) -> Result<(&'a Github, &'a Aws), CliError> {
    // GitHub's names are the same in any case.
    let same =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(found));
    let mut repositories: Vec<&Github> = connections
        .github
        .iter()
        .filter(|found| wanted.github.as_ref().is_none_or(|id| *id == found.connection_id))
        .filter(|found| same(&wanted.owner, &found.owner) && same(&wanted.repo, &found.repo))
        .collect();
    // A branch decides between several connections to one repository; any branch of a connected one may be deployed.
    if repositories.len() > 1
        && let Some(branch) = &wanted.branch
    {
        repositories.retain(|found| found.branch == *branch);
    }
    let accounts: Vec<&Aws> = connections
        .aws
        .iter()
        .filter(|found| wanted.aws.as_ref().is_none_or(|id| *id == found.connection_id))
        .collect();
    let github = only(&repositories, "--github", "repository", "panda connect github", |found| {
        format!("{} ({}/{} {})", found.connection_id, found.owner, found.repo, found.branch)
    })?;
    let aws = only(&accounts, "--aws", "AWS account", "panda connect aws", |found| {
        format!("{} ({})", found.connection_id, found.region)
    })?;
    Ok((github, aws))
}

fn only<'a, T>(
    found: &[&'a T],
    option: &str,
    what: &str,
    command: &str,
    name: impl Fn(&T) -> String,
) -> Result<&'a T, CliError> {
    match found {
        [one] => Ok(one),
        [] => Err(CliError::input(
            option,
            format!("no connected {what} fits: see panda connections, or connect one with {command}"),
        )),
        several => {
            let names: Vec<String> = several.iter().map(|found| super::clean::line(&name(found))).collect();
            Err(CliError::input(option, format!("several fit, so name one by its id: {}", names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github(id: &str, repo: &str, branch: &str) -> Github {
        let text = |text: &str| text.to_owned();
        Github { connection_id: text(id), owner: text("acme"), repo: text(repo), branch: text(branch) }
    }

    fn aws(id: &str) -> Aws {
        Aws { connection_id: id.to_owned(), region: "ap-northeast-2".to_owned() }
    }

    #[test]
    fn the_only_connections_need_not_be_named() {
        let connections = Connections { github: vec![github("gh_1", "shop", "main")], aws: vec![aws("aws_1")] };
        let (found, account) = choose(&Wanted::default(), &connections).unwrap();
        assert_eq!((found.connection_id.as_str(), account.connection_id.as_str()), ("gh_1", "aws_1"));
    }

    #[test]
    fn a_name_or_branch_decides_between_several() {
        let several =
            vec![github("gh_1", "shop", "main"), github("gh_2", "shop", "next"), github("gh_3", "blog", "main")];
        let connections = Connections { github: several, aws: vec![aws("aws_1")] };
        let blog = Wanted { repo: Some("Blog".to_owned()), ..Wanted::default() };
        assert_eq!(choose(&blog, &connections).unwrap().0.connection_id, "gh_3");
        let next = Wanted { repo: Some("shop".to_owned()), branch: Some("next".to_owned()), ..Wanted::default() };
        assert_eq!(choose(&next, &connections).unwrap().0.connection_id, "gh_2");
    }

    #[test]
    fn several_or_none_are_refused_with_their_names() {
        let connections =
            Connections { github: vec![github("gh_1", "shop", "main")], aws: vec![aws("aws_1"), aws("aws_2")] };
        let several = choose(&Wanted::default(), &connections).unwrap_err().to_string();
        assert!(several.contains("--aws") && several.contains("aws_1") && several.contains("aws_2"), "{several}");
        let none = choose(&Wanted { owner: Some("other".to_owned()), ..Wanted::default() }, &connections).unwrap_err();
        assert!(none.to_string().contains("panda connect github"), "{none}");
    }
}
