//! Rules of a rollback: which earlier version returns, and how.

/// A deployment whose version ran in its target: it is COMPLETED, and its traffic was on green at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Id of the deployment.
    pub id: String,
    /// Digest of its image; none if it is not known.
    pub image_digest: Option<String>,
    /// Digest of the image that was requested, when nothing was built: its layers are the same.
    pub requested_image: Option<String>,
    /// True if a later deployment rolled it back.
    pub rolled_back: bool,
}

impl Release {
    /// Returns the digests of images with this version's layers.
    pub fn digests(&self) -> Vec<String> {
        self.image_digest.iter().chain(&self.requested_image).cloned().collect()
    }

    /// Reports that both have the same layers, as far as their digests show.
    fn is_version_of(&self, other: &Self) -> bool {
        let digests = other.digests();
        self.digests().iter().any(|digest| digests.contains(digest))
    }
}

/// The deployment that is live in its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRelease {
    /// Version that is live.
    pub release: Release,
    /// True while AWS can take the traffic back to blue.
    pub blue_lives: bool,
    /// The release before it: blue, while blue lives. None if there was none, or Panda does not know it.
    pub before: Option<Release>,
}

/// How the earlier version returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackWay {
    /// CodeDeploy takes the traffic back to blue; none if Panda does not know what blue is.
    AtAws(Option<Release>),
    /// A new deployment of an image that is in ECR.
    NewDeployment {
        /// The release whose version returns.
        to: Release,
        /// Digest of the image to deploy.
        image_digest: String,
    },
}

/// Reason for which no version can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRollback {
    /// No release before has another image.
    NoEarlierRelease,
    /// The chosen release has no known image.
    NoDigest,
    /// The chosen release has the image that is live.
    SameVersion,
}

/// Decides how to roll `live` back: to the `chosen` release, or else to the release before it, or the `last_good` one if that was rolled back itself.
///
/// # Errors
/// No version can return.
pub fn way(live: &LiveRelease, last_good: Option<Release>, chosen: Option<Release>) -> Result<RollbackWay, NoRollback> {
    let Some(to) = chosen else {
        return match &live.before {
            None if live.blue_lives => Ok(RollbackWay::AtAws(None)),
            Some(before) if live.blue_lives && !before.rolled_back => Ok(RollbackWay::AtAws(Some(before.clone()))),
            _ => again(last_good.ok_or(NoRollback::NoEarlierRelease)?),
        };
    };
    let is_blue = live.before.as_ref().is_some_and(|before| before.id == to.id || before.is_version_of(&to));
    if live.blue_lives && is_blue {
        return Ok(RollbackWay::AtAws(Some(to)));
    }
    if to.id == live.release.id || to.is_version_of(&live.release) {
        return Err(NoRollback::SameVersion);
    }
    again(to)
}

fn again(to: Release) -> Result<RollbackWay, NoRollback> {
    let image_digest = to.image_digest.clone().ok_or(NoRollback::NoDigest)?;
    Ok(RollbackWay::NewDeployment { to, image_digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str) -> Release {
        let image_digest = Some(format!("sha256:{id}"));
        Release { id: id.to_owned(), image_digest, requested_image: None, rolled_back: false }
    }

    fn live(blue_lives: bool, before: Option<Release>) -> LiveRelease {
        LiveRelease { release: release("live"), blue_lives, before }
    }

    fn deploys(way: Result<RollbackWay, NoRollback>) -> String {
        match way {
            Ok(RollbackWay::NewDeployment { image_digest, .. }) => image_digest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn returns_to_blue_while_it_lives() {
        let before = Some(release("before"));
        let at_aws = Ok(RollbackWay::AtAws(before.clone()));
        assert_eq!(way(&live(true, before.clone()), before.clone(), None), at_aws);
        assert_eq!(way(&live(true, before.clone()), before.clone(), before.clone()), at_aws);
        assert_eq!(way(&live(true, None), None, None), Ok(RollbackWay::AtAws(None)), "blue is not Panda's");
        assert_eq!(deploys(way(&live(false, before.clone()), before, None)), "sha256:before");
    }

    #[test]
    fn deploys_an_older_version_although_blue_lives() {
        let before = Some(release("before"));
        assert_eq!(deploys(way(&live(true, before.clone()), before, Some(release("old")))), "sha256:old");
    }

    #[test]
    fn never_returns_to_a_rolled_back_version_by_itself() {
        let bad = Release { rolled_back: true, ..release("bad") };
        assert_eq!(deploys(way(&live(true, Some(bad.clone())), Some(release("good")), None)), "sha256:good");
        let chosen = way(&live(true, Some(bad.clone())), Some(release("good")), Some(bad.clone()));
        assert_eq!(chosen, Ok(RollbackWay::AtAws(Some(bad))), "unless it was chosen");
    }

    #[test]
    fn refuses_what_changes_nothing() {
        assert_eq!(way(&live(false, None), None, None), Err(NoRollback::NoEarlierRelease));
        assert_eq!(way(&live(false, None), None, Some(release("live"))), Err(NoRollback::SameVersion));
        let copy = Release { requested_image: Some("sha256:live".to_owned()), ..release("copy") };
        assert_eq!(way(&live(false, None), None, Some(copy)), Err(NoRollback::SameVersion), "the same layers");
        let unknown = Release { image_digest: None, ..release("old") };
        assert_eq!(way(&live(false, None), None, Some(unknown)), Err(NoRollback::NoDigest));
    }
}
