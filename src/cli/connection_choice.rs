//! Chooses the connections of a deployment: by id, or the only ones that match.

use super::checkout::Checkout;
use super::error::CliError;
use super::id_prefix::matches;
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

impl ConnectionFilter {
    /// Adds the repository of the checkout where none is named, and returns the checkout if it is the one to deploy.
    ///
    /// A checkout of a repository that is not connected is refused, where another is: the user means the repository of the present folder.
    pub fn complete(
        &mut self,
        checkout: Option<Checkout>,
        connections: &ListedConnections,
    ) -> Result<Option<Checkout>, CliError> {
        let named = self.owner.is_some() || self.repo.is_some() || self.github.is_some();
        let Some(checkout) = checkout.filter(|_| !named && !connections.github.is_empty()) else { return Ok(None) };
        let is_connected = connections.github.iter().any(|found| {
            found.owner.eq_ignore_ascii_case(&checkout.owner) && found.repo.eq_ignore_ascii_case(&checkout.repo)
        });
        if !is_connected {
            let repository = super::sanitize::line(&format!("{}/{}", checkout.owner, checkout.repo));
            return Err(CliError::input("--repo", message!("cli.checkout_not_connected", repository)));
        }
        (self.owner, self.repo) = (Some(checkout.owner.clone()), Some(checkout.repo.clone()));
        Ok(Some(checkout))
    }
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
        .filter(|found| filter.github.as_ref().is_none_or(|id| matches(&found.connection_id, id, "gh_")))
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
        .filter(|found| filter.aws.as_ref().is_none_or(|id| matches(&found.connection_id, id, "aws_")))
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
    fn takes_the_repository_of_the_checkout() {
        let connections = ListedConnections {
            github: vec![github("gh_1", "shop", "main"), github("gh_2", "blog", "main")],
            aws: vec![aws("aws_1")],
        };
        let checkout = |repo: &str| Checkout {
            owner: "Acme".to_owned(),
            repo: repo.to_owned(),
            branch: Some("next".to_owned()),
            commit: None,
            is_ahead: false,
        };
        let mut filter = ConnectionFilter::default();
        assert_eq!(filter.complete(Some(checkout("blog")), &connections).unwrap(), Some(checkout("blog")));
        assert_eq!(choose(&filter, &connections).unwrap().0.connection_id, "gh_2");
        let other = ConnectionFilter::default().complete(Some(checkout("api")), &connections).unwrap_err().to_string();
        assert!(other.contains("Acme/api") && other.contains("--repo"), "{other}");
        let mut named = ConnectionFilter { repo: Some("shop".to_owned()), ..ConnectionFilter::default() };
        assert_eq!(named.complete(Some(checkout("blog")), &connections).unwrap(), None);
        assert_eq!(ConnectionFilter::default().complete(None, &connections).unwrap(), None);
    }

    #[test]
    fn completes_ids() {
        let connections = ListedConnections {
            github: vec![
                github("gh_4k1zq0v7w3m9x2c8b5n6", "shop", "main"),
                github("gh_7m3x9c2v5b8n1k4j6h0g", "blog", "main"),
            ],
            aws: vec![aws("aws_4k1zq0v7w3m9x2c8b5n6")],
        };
        for (github, repo) in [("4k", "shop"), ("gh_7m3", "blog"), ("gh_7m3x9c2v5b8n1k4j6h0g", "blog")] {
            let filter = ConnectionFilter {
                github: Some(github.to_owned()),
                aws: Some("aws_4".to_owned()),
                ..ConnectionFilter::default()
            };
            assert_eq!(choose(&filter, &connections).unwrap().0.repo, repo);
        }
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
