//! Items outside AWS: the database, the builder and the source repository.

use futures_util::future::join_all;

use super::looks::Looker;
use super::subject::Subject;
use crate::clients::builder::Builder;
use crate::clients::github::GitHubError;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::connection::GithubConnection;
use crate::domain::message::message;
use crate::domain::preflight::{ItemKind, ItemPlace, PreflightItem};

pub(super) async fn items(looker: &Looker, subject: &Subject<'_>) -> Vec<PreflightItem> {
    let database = message!("preflight.database");
    // The connection was read from it, and its secrets were decrypted.
    let mut items = vec![PreflightItem::new("database", ItemPlace::Server, ItemKind::Service, "PostgreSQL", database)];
    let (builder, repository) = tokio::join!(builder(looker, subject), async {
        match subject.source {
            Some(source) => Some(repository(looker, subject, source).await),
            None => None,
        }
    });
    items.extend(builder);
    items.extend(repository);
    items
}

/// The builder of the repository; without a repository, each that is configured.
async fn builder(looker: &Looker, subject: &Subject<'_>) -> Vec<PreflightItem> {
    let text = || message!("preflight.builder");
    let item =
        |name: &str| PreflightItem::new(&format!("builder.{name}"), ItemPlace::Server, ItemKind::Service, name, text());
    let builders = subject.cx.builders;
    let chosen: Vec<&Builder> = match subject.source {
        None => builders.iter().collect(),
        Some(of) => {
            let Some(pooled) = builders.of(&of.owner, &of.repo, &subject.connection.id) else {
                let absent = message!("preflight.no_builder", owner = &of.owner, repo = &of.repo);
                return vec![item("none").missing(absent, message!("preflight.no_builder_remedy"))];
            };
            vec![&pooled.builder]
        }
    };
    let looks: Vec<_> = chosen.iter().map(|builder| looker.look("builder", builder.active())).collect();
    let answers = chosen.iter().zip(join_all(looks).await);
    let found = answers.map(|(builder, answer)| match answer {
        Ok(found) => {
            PreflightItem { name: format!("{} ({})", builder.name(), found.describe()), ..item(builder.name()) }
        }
        Err(error) => item(builder.name()).missing(
            message!("preflight.builder_down", error = error.to_string()),
            message!("preflight.builder_remedy"),
        ),
    });
    found.collect()
}

/// Repository, branch and token of the source.
async fn repository(looker: &Looker, subject: &Subject<'_>, source: &GithubConnection) -> PreflightItem {
    let id = &source.id;
    let name = format!("{}/{} {}", source.owner, source.repo, source.branch);
    let text = message!("preflight.repository", id);
    let item = PreflightItem::new("sourceRepository", ItemPlace::Source, ItemKind::Credentials, name, text);
    // GitHub's errors have their own type; only the deadline is the looker's.
    let answer = looker
        .look("GitHub API", async {
            let found = subject.cx.github.check(&source.owner, &source.repo, &source.branch, &source.token).await;
            Ok::<_, ClientError>(found)
        })
        .await;
    let reason =
        |error: &dyn std::fmt::Display| message!("preflight.source_refused", error = looker.masked(&error.to_string()));
    match answer {
        Ok(Ok(())) => item,
        Ok(Err(GitHubError::BranchNotFound)) => {
            let branch = &source.branch;
            // Any other branch may be deployed.
            item.missing(message!("preflight.no_branch", branch), message!("preflight.branch_remedy", id)).optional()
        }
        Ok(Err(GitHubError::Unavailable(error))) if error.kind != ErrorKind::Denied => item.unknown(
            message!("preflight.unanswered", error = looker.masked(&error.to_string())),
            message!("preflight.retry"),
        ),
        Ok(Err(error @ GitHubError::RateLimited { .. })) => item.unknown(reason(&error), message!("preflight.retry")),
        Ok(Err(error)) => item.missing(reason(&error), message!("preflight.token_remedy", id)),
        Err(error) => {
            item.unknown(message!("preflight.unanswered", error = error.to_string()), message!("preflight.retry"))
        }
    }
}
