//! Index keys of a scope combined with a list's filters: `owner/repo` or `owner/*`, in lower case.

use super::principal::Scope;

/// Index keys of the rows of a list. The keys do not overlap, so that no row is listed twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Keys of single repositories, `owner/repo`.
    pub repositories: Vec<String>,
    /// Keys of all repositories of an owner, `owner/*`.
    pub owners: Vec<String>,
}

/// Intersection of a scope with filters by owner and repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Narrowed {
    /// All rows, without restriction.
    All,
    /// Rows with one of these keys.
    Keys(Keys),
    /// Repositories of this name, of any owner.
    Named(String),
}

impl Scope {
    /// Narrows the scope to `owner` and `repo`, which may be in any case.
    pub fn narrowed(&self, owner: Option<&str>, repo: Option<&str>) -> Narrowed {
        let (owner, repo) = (owner.map(str::to_ascii_lowercase), repo.map(str::to_ascii_lowercase));
        let (names, repo) = match (self, owner, repo) {
            (Self::All, None, None) => return Narrowed::All,
            (Self::All, None, Some(repo)) => return Narrowed::Named(repo),
            (Self::All, Some(owner), repo) => (vec![format!("{owner}/*")], repo),
            (Self::Repositories(names), None, repo) => (names.clone(), repo),
            (Self::Repositories(names), Some(owner), repo) => {
                let of_owner = |name: &&String| name.split_once('/').is_some_and(|(known, _)| known == owner);
                (names.iter().filter(of_owner).cloned().collect(), repo)
            }
        };
        Narrowed::Keys(Keys::of(&names, repo.as_deref()))
    }
}

impl Keys {
    /// Creates keys from names `owner/repo` and `owner/*`, restricted to repositories called `repo` if given.
    pub fn of(names: &[String], repo: Option<&str>) -> Self {
        let mut keys = Self::default();
        for name in names {
            let Some((owner, of)) = name.split_once('/') else { continue };
            match (of, repo) {
                ("*", None) => keys.owners.push(name.clone()),
                ("*", Some(repo)) => keys.repositories.push(format!("{owner}/{repo}")),
                (of, Some(repo)) if of != repo => {}
                _ => keys.repositories.push(name.clone()),
            }
        }
        keys.repositories.retain(|name| {
            let owner = name.split_once('/').map_or("", |(owner, _)| owner);
            !keys.owners.iter().any(|all| all.strip_suffix("/*") == Some(owner))
        });
        for names in [&mut keys.repositories, &mut keys.owners] {
            names.sort_unstable();
            names.dedup();
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(names: &[&str]) -> Scope {
        Scope::of(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn keys(repositories: &[&str], owners: &[&str]) -> Narrowed {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Narrowed::Keys(Keys { repositories: owned(repositories), owners: owned(owners) })
    }

    #[test]
    fn narrowed_intersects_scope_and_filters() {
        let some = scope(&["Acme/Shop", "acme/blog", "toys/*", "toys/robot"]);
        for (owner, repo, left) in [
            (None, None, keys(&["acme/blog", "acme/shop"], &["toys/*"])),
            (Some("ACME"), None, keys(&["acme/blog", "acme/shop"], &[])),
            (Some("toys"), None, keys(&[], &["toys/*"])),
            (None, Some("Shop"), keys(&["acme/shop", "toys/shop"], &[])),
            (None, Some("robot"), keys(&["toys/robot"], &[])),
            (Some("acme"), Some("robot"), keys(&[], &[])),
            (Some("other"), None, keys(&[], &[])),
        ] {
            assert_eq!(some.narrowed(owner, repo), left, "{owner:?} {repo:?}");
        }
    }

    #[test]
    fn narrowed_scope_of_everything_equals_the_filters() {
        assert_eq!(Scope::All.narrowed(None, None), Narrowed::All);
        assert_eq!(Scope::All.narrowed(Some("Acme"), None), keys(&[], &["acme/*"]));
        assert_eq!(Scope::All.narrowed(Some("Acme"), Some("Shop")), keys(&["acme/shop"], &[]));
        assert_eq!(Scope::All.narrowed(None, Some("Shop")), Narrowed::Named("shop".to_owned()));
    }

    #[test]
    fn narrowed_agrees_with_holds() {
        let some = scope(&["acme/shop", "toys/*"]);
        for (owner, repo) in [("acme", "shop"), ("ACME", "Shop"), ("acme", "blog"), ("toys", "x"), ("toys2", "x")] {
            let Narrowed::Keys(left) = some.narrowed(Some(owner), Some(repo)) else { panic!("these are keys") };
            assert_eq!(!left.repositories.is_empty(), some.holds(owner, repo), "{owner}/{repo}");
        }
    }
}
