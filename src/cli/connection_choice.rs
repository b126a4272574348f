//! Chooses the connections of a deployment: by id, or the only ones that match.

use super::error::CliError;
use super::types::{ConnectedAccount, ConnectedRepository, ListedConnections};
use crate::domain::message::{Message, message};

/// The user's criteria; `None` matches every connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter {
    pub owner: Option<String>,
    pub repo: Option<String>,
    pub branch: Option<String>,
    /// Id of a connection, from `--github`.
    pub github: Option<String>,
    /// Id of a connection, from `--aws`.
    pub aws: Option<String>,
}

/// Returns the only repository and the only account that match.
pub fn choose<'a>(
    filter: &ConnectionFilter,
    connections: &'a ListedConnections,
) -> Result<(&'a ConnectedRepository, &'a ConnectedAccount), CliError> {
    // GitHub's names are case-insensitive.
    let same = |given: &Option<String>, found: &str| given.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(found));
    let mut repositories: Vec<&ConnectedRepository> = connections
        .github
        .iter()
        .filter(|found| filter.github.as_ref().is_none_or(|id| *id == found.connection_id))
        .filter(|found| same(&filter.owner, &found.owner) && same(&filter.repo, &found.repo))
        .collect();
    // A branch decides between several connections to one repository; any branch of a connected one may be deployed.
    if repositories.len() > 1
        && let Some(branch) = &filter.branch
    {
        repositories.retain(|found| found.branch == *branch);
    }
    let accounts: Vec<&ConnectedAccount> = connections
        .aws
        .iter()
        .filter(|found| filter.aws.as_ref().is_none_or(|id| *id == found.connection_id))
        .collect();
    let github = only(
        &repositories,
        "--github",
        || message!("cli.no_repository"),
        |found| format!("{} ({}/{} {})", found.connection_id, found.owner, found.repo, found.branch),
    )?;
    let aws = only(
        &accounts,
        "--aws",
        || message!("cli.no_account"),
        |found| format!("{} ({})", found.connection_id, found.region),
    )?;
    Ok((github, aws))
}

fn only<'a, T>(
    found: &[&'a T],
    option: &str,
    none: impl Fn() -> Message,
    name: impl Fn(&T) -> String,
) -> Result<&'a T, CliError> {
    match found {
        [only] => Ok(only),
        [] => Err(CliError::input(option, none())),
        several => {
            let names: Vec<String> = several.iter().map(|found| super::sanitize::line(&name(found))).collect();
            Err(CliError::input(option, message!("cli.several_match", names = names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn github(id: &str, repo: &str, branch: &str) -> ConnectedRepository {
        let text = |text: &str| text.to_owned();
        ConnectedRepository { connection_id: text(id), owner: text("acme"), repo: text(repo), branch: text(branch) }
    }

    fn aws(id: &str) -> ConnectedAccount {
        ConnectedAccount { connection_id: id.to_owned(), region: "ap-northeast-2".to_owned() }
    }

    #[test]
    fn chooses_the_only_connections() {
        let connections = ListedConnections { github: vec![github("gh_1", "shop", "main")], aws: vec![aws("aws_1")] };
        let (found, account) = choose(&ConnectionFilter::default(), &connections).unwrap();
        assert_eq!((found.connection_id.as_str(), account.connection_id.as_str()), ("gh_1", "aws_1"));
    }

    #[test]
    fn filters_by_name_and_branch() {
        let several =
            vec![github("gh_1", "shop", "main"), github("gh_2", "shop", "next"), github("gh_3", "blog", "main")];
        let connections = ListedConnections { github: several, aws: vec![aws("aws_1")] };
        let blog = ConnectionFilter { repo: Some("Blog".to_owned()), ..ConnectionFilter::default() };
        assert_eq!(choose(&blog, &connections).unwrap().0.connection_id, "gh_3");
        let next = ConnectionFilter {
            repo: Some("shop".to_owned()),
            branch: Some("next".to_owned()),
            ..ConnectionFilter::default()
        };
        assert_eq!(choose(&next, &connections).unwrap().0.connection_id, "gh_2");
    }

    #[test]
    fn rejects_several_and_none() {
        let connections =
            ListedConnections { github: vec![github("gh_1", "shop", "main")], aws: vec![aws("aws_1"), aws("aws_2")] };
        let several = choose(&ConnectionFilter::default(), &connections).unwrap_err().to_string();
        assert!(several.contains("--aws") && several.contains("aws_1") && several.contains("aws_2"), "{several}");
        let none =
            choose(&ConnectionFilter { owner: Some("other".to_owned()), ..ConnectionFilter::default() }, &connections)
                .unwrap_err();
        assert!(none.to_string().contains("panda connect github"), "{none}");
    }
}
