//! The repositories of the sandbox: bare repositories below one folder, each public or protected by a token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, RepositoryInitOptions, Signature};
use parking_lot::{Mutex, RwLock};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::error::{AccessRefusal, GitError};
use super::source::{SourceFile, check_branch, check_name, check_path};

/// A repository that was added to the sandbox.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Owner in its original case; lookups ignore case.
    pub owner: String,
    /// Name in its original case; lookups ignore case.
    pub name: String,
    /// Branch of a clone without an explicit branch.
    pub default_branch: String,
    /// Token that grants access; `None` for a public repository.
    token: Option<SecretString>,
}

impl Repository {
    /// The name in the form `owner/repo`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// True if access requires a token.
    pub fn is_private(&self) -> bool {
        self.token.is_some()
    }

    fn takes(&self, token: &SecretString) -> bool {
        // Compare digests, so that the time does not reveal how much of a guess was right.
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret().as_bytes());
        self.token.as_ref().is_some_and(|own| digest(own) == digest(token))
    }
}

/// The newest commit of a branch.
#[derive(Clone, Debug)]
pub struct Head {
    /// Id of the commit, 40 hexadecimal digits.
    pub sha: String,
    /// Id of its tree, 40 hexadecimal digits.
    pub tree: String,
    /// Commit message, subject and body.
    pub message: String,
    /// Time of the commit (committer, UTC).
    pub time: chrono::DateTime<chrono::Utc>,
}

/// The repositories below one folder; clones share them.
#[derive(Clone, Debug)]
pub struct Repositories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    backend: PathBuf,
    /// Keyed by lower-case names, because GitHub ignores case; ordered, so that `user_of` returns the same owner in each run.
    known: RwLock<BTreeMap<(String, String), Repository>>,
    /// Tokens of installations of Apps, with the account that they are for.
    installation_tokens: RwLock<BTreeMap<String, String>>,
    /// Serialises commits: each reads a branch and then moves it.
    writing: Mutex<()>,
}

impl Repositories {
    /// Opens the folder `root`, and creates it when absent.
    pub async fn open(root: &Path) -> Result<Self, GitError> {
        let failed = |source| GitError::File { path: root.to_path_buf(), source };
        std::fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let output = tokio::process::Command::new("git").arg("--exec-path").output().await;
        let output = output.map_err(|error| GitError::NoGit(error.to_string()))?;
        // Run the program directly: `git http-backend` would add a second process, and killing git would leave the program running.
        let backend = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).join("git-http-backend");
        if !backend.is_file() {
            return Err(GitError::NoGit(format!("{} does not exist", backend.display())));
        }
        let (known, installation_tokens, writing) = (RwLock::default(), RwLock::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { root, backend, known, installation_tokens, writing }) })
    }

    /// Adds `owner/repo`, private if `token` is given, and returns the id of the newest commit of `branch`.
    ///
    /// `files` become the first commit of `branch`, the default branch. A repository of an earlier run keeps its
    /// history: then `files` are only used if the branch does not exist.
    pub async fn add_repository(
        &self,
        owner: &str,
        repo: &str,
        token: Option<SecretString>,
        branch: &str,
        files: Vec<SourceFile>,
    ) -> Result<String, GitError> {
        check_name("owner", owner, 39, &['-'])?;
        check_name("repo", repo, 100, &['-', '_', '.'])?;
        check_branch(branch)?;
        let repository =
            Repository { owner: owner.to_owned(), name: repo.to_owned(), default_branch: branch.to_owned(), token };
        let path = self.path(&repository);
        let made = branch.to_owned();
        let head = self
            .blocking(move || {
                let mut options = RepositoryInitOptions::new();
                let git = git2::Repository::init_opts(&path, options.bare(true).external_template(false))?;
                git.set_head(&format!("refs/heads/{made}"))?;
                // As GitHub does, serve any commit reachable from a branch.
                git.config()?.set_bool("uploadpack.allowReachableSHA1InWant", true)?;
                match tip(&git, &made)? {
                    Some(commit) => Ok(commit.id().to_string()),
                    None => commit(&git, &made, &files),
                }
            })
            .await?;
        let key = (owner.to_lowercase(), repo.to_lowercase());
        self.inner.known.write().insert(key, repository);
        Ok(head)
    }

    /// Adds a commit to `branch`: `files` replace files at the same paths, others stay. A new branch starts from the default branch.
    /// Returns the id of the commit.
    pub async fn commit(
        &self,
        owner: &str,
        repo: &str,
        branch: &str,
        files: Vec<SourceFile>,
    ) -> Result<String, GitError> {
        check_branch(branch)?;
        let path = self.path(&self.known(owner, repo)?);
        let branch = branch.to_owned();
        self.blocking(move || commit(&git2::Repository::open_bare(&path)?, &branch, &files)).await
    }

    /// Returns the newest commit of a branch.
    pub async fn head(&self, owner: &str, repo: &str, branch: &str) -> Result<Head, GitError> {
        let repository = self.known(owner, repo)?;
        let unknown = || GitError::UnknownBranch { repository: repository.full_name(), branch: branch.to_owned() };
        if check_branch(branch).is_err() {
            return Err(unknown());
        }
        let (path, name) = (self.path(&repository), branch.to_owned());
        let head = self.blocking(move || {
            let git = git2::Repository::open_bare(&path)?;
            let commit = tip(&git, &name)?;
            Ok(commit.map(|commit| Head {
                sha: commit.id().to_string(),
                tree: commit.tree_id().to_string(),
                message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
                time: chrono::DateTime::from_timestamp(commit.time().seconds(), 0).unwrap_or_default(),
            }))
        });
        head.await?.ok_or_else(unknown)
    }

    /// Returns the id of the commit that a full id, a branch or a tag names; none where the repository has no such commit.
    pub async fn commit_of(&self, owner: &str, repo: &str, name: &str) -> Result<Option<String>, GitError> {
        let path = self.path(&self.known(owner, repo)?);
        let name = name.to_owned();
        self.blocking(move || {
            let git = git2::Repository::open_bare(&path)?;
            let id = match git2::Oid::from_str(&name).ok().filter(|_| name.len() == 40) {
                Some(id) => git.find_commit(id).map(|commit| commit.id()),
                None => git.resolve_reference_from_short_name(&name).and_then(|found| Ok(found.peel_to_commit()?.id())),
            };
            match id {
                Ok(id) => Ok(Some(id.to_string())),
                Err(error) if [git2::ErrorCode::NotFound, git2::ErrorCode::InvalidSpec].contains(&error.code()) => {
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Returns the repository if `token` grants access to it.
    pub fn access(&self, owner: &str, repo: &str, token: Option<&SecretString>) -> Result<Repository, AccessRefusal> {
        if token.is_some_and(|token| self.user_of(token).is_none()) {
            return Err(AccessRefusal::BadCredentials);
        }
        let repository = self.known(owner, repo).map_err(|_| AccessRefusal::NotFound)?;
        let of_account = |token: &SecretString| {
            self.account_of(token).is_some_and(|owner| owner.eq_ignore_ascii_case(&repository.owner))
        };
        let allowed =
            !repository.is_private() || token.is_some_and(|token| repository.takes(token) || of_account(token));
        if allowed { Ok(repository) } else { Err(AccessRefusal::NotFound) }
    }

    /// Returns the user of a token: the owner of the first repository that accepts it.
    pub fn user_of(&self, token: &SecretString) -> Option<String> {
        let known = self.inner.known.read();
        let owner =
            known.values().find(|repository| repository.takes(token)).map(|repository| repository.owner.clone());
        owner.or_else(|| self.account_of(token))
    }

    /// Accepts a token of an App's installation for all repositories of `owner`.
    pub(crate) fn add_installation_token(&self, token: &str, owner: &str) {
        self.inner.installation_tokens.write().insert(token.to_owned(), owner.to_owned());
    }

    /// Refuses all tokens of installations from now on, as GitHub does once they have expired.
    pub fn end_installation_tokens(&self) {
        self.inner.installation_tokens.write().clear();
    }

    fn account_of(&self, token: &SecretString) -> Option<String> {
        self.inner.installation_tokens.read().get(token.expose_secret()).cloned()
    }

    pub(super) fn root(&self) -> &Path {
        &self.inner.root
    }

    pub(super) fn backend(&self) -> &Path {
        &self.inner.backend
    }

    fn known(&self, owner: &str, repo: &str) -> Result<Repository, GitError> {
        let known = self.inner.known.read();
        let found = known.get(&(owner.to_lowercase(), repo.to_lowercase()));
        found.cloned().ok_or_else(|| GitError::UnknownRepository(format!("{owner}/{repo}")))
    }

    /// Path of the repository; built only from validated names.
    fn path(&self, repository: &Repository) -> PathBuf {
        self.inner.root.join(&repository.owner).join(format!("{}.git", repository.name))
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, GitError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, GitError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let _writing = inner.writing.lock();
            work()
        });
        task.await.map_err(|_| GitError::Interrupted)?
    }
}

fn tip<'repo>(git: &'repo git2::Repository, branch: &str) -> Result<Option<git2::Commit<'repo>>, GitError> {
    match git.find_reference(&format!("refs/heads/{branch}")) {
        Ok(reference) => Ok(Some(reference.peel_to_commit()?)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn commit(git: &git2::Repository, branch: &str, files: &[SourceFile]) -> Result<String, GitError> {
    let own = tip(git, branch)?;
    let parent = match &own {
        Some(commit) => Some(commit.clone()),
        None => git.head().ok().map(|head| head.peel_to_commit()).transpose()?,
    };
    let mut update = TreeUpdateBuilder::new();
    for file in files {
        check_path(&file.path)?;
        let mode = match (file.is_link, file.executable) {
            (true, _) => FileMode::Link,
            (false, true) => FileMode::BlobExecutable,
            (false, false) => FileMode::Blob,
        };
        update.upsert(&*file.path, git.blob(&file.contents)?, mode);
    }
    let base = match &parent {
        Some(parent) => parent.tree()?,
        None => git.find_tree(git.treebuilder(None)?.write()?)?,
    };
    let tree = git.find_tree(update.create_updated(git, &base)?)?;
    let who = Signature::now("Panda sandbox", "sandbox@localhost")?;
    let message = match files {
        [only] => format!("Change {}", only.path),
        _ => format!("Change {} files", files.len()),
    };
    let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
    let id = git.commit(None, &who, &who, &message, &tree, &parents)?;
    // Set the reference separately: `commit` requires the parent to be the branch's tip, which a new branch does not have.
    git.reference(&format!("refs/heads/{branch}"), id, own.is_some(), "commit")?;
    Ok(id.to_string())
}
