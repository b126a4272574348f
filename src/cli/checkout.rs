//! The Git checkout in which a command runs: its repository and branch are the defaults of `panda deploy`, `panda schedule create` and `panda init`.

use git2::Repository;

/// Repository and present source of a checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Owner in the address of the remote `origin`.
    pub owner: String,
    /// Repository in that address.
    pub repo: String,
    /// Present branch; none while a commit is checked out.
    pub branch: Option<String>,
    /// Full id of the present commit; none in an empty repository.
    pub commit: Option<String>,
    /// True if the branch has commits that `origin` does not have, as far as the checkout knows.
    pub is_ahead: bool,
}

/// The checkout around the present folder; none outside of one, or without a remote `origin`.
pub fn here() -> Option<Checkout> {
    of(&Repository::discover(".").ok()?)
}

fn of(repository: &Repository) -> Option<Checkout> {
    let origin = repository.find_remote("origin").ok()?;
    let (owner, repo) = owner_and_repo(std::str::from_utf8(origin.url_bytes()).ok()?)?;
    let head = repository.head().ok();
    let branch =
        head.as_ref().filter(|head| head.is_branch()).and_then(|head| head.shorthand().ok()).map(str::to_owned);
    let commit = head.as_ref().and_then(git2::Reference::target);
    let pushed =
        branch.as_ref().and_then(|branch| repository.refname_to_id(&format!("refs/remotes/origin/{branch}")).ok());
    let ahead = pushed.zip(commit).and_then(|(pushed, commit)| repository.graph_ahead_behind(commit, pushed).ok());
    Some(Checkout {
        owner,
        repo,
        branch,
        commit: commit.map(|id| id.to_string()),
        is_ahead: ahead.is_some_and(|(ahead, _)| ahead > 0),
    })
}

/// The last two parts of a remote's address: `https://host/owner/repo.git`, `git@host:owner/repo.git`, `/folder/owner/repo.git`.
fn owner_and_repo(url: &str) -> Option<(String, String)> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']).filter(|part| !part.is_empty());
    let (repo, owner) = (parts.next()?, parts.next()?);
    Some((owner.to_owned(), repo.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_of_remotes() {
        for url in [
            "https://github.com/acme/shop.git",
            "https://github.com/acme/shop",
            "https://github.com/acme/shop/",
            "git@github.com:acme/shop.git",
            "ssh://git@github.com:22/acme/shop.git",
            "/var/lib/panda/git/acme/shop.git",
        ] {
            assert_eq!(owner_and_repo(url), Some(("acme".to_owned(), "shop".to_owned())), "{url}");
        }
        assert_eq!(owner_and_repo("shop"), None);
        assert_eq!(owner_and_repo(""), None);
    }

    #[test]
    fn knows_repository_branch_and_commit() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init(dir.path()).unwrap();
        assert_eq!(of(&repository), None, "without a remote");
        repository.remote("origin", "https://github.com/acme/shop.git").unwrap();
        let commit = |parents: &[&git2::Commit<'_>]| {
            let tree = repository.find_tree(repository.treebuilder(None).unwrap().write().unwrap()).unwrap();
            let author = git2::Signature::now("a", "a@example.com").unwrap();
            repository.commit(Some("refs/heads/next"), &author, &author, "x", &tree, parents).unwrap()
        };
        let first = commit(&[]);
        repository.set_head("refs/heads/next").unwrap();
        repository.reference("refs/remotes/origin/next", first, true, "").unwrap();
        let known = of(&repository).unwrap();
        let expected = Checkout {
            owner: "acme".to_owned(),
            repo: "shop".to_owned(),
            branch: Some("next".to_owned()),
            commit: Some(first.to_string()),
            is_ahead: false,
        };
        assert_eq!(known, expected);
        commit(&[&repository.find_commit(first).unwrap()]);
        assert!(of(&repository).unwrap().is_ahead);
        repository.set_head_detached(first).unwrap();
        assert_eq!(of(&repository).unwrap(), Checkout { branch: None, ..expected });
    }
}
