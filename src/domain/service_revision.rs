//! Service revisions of ECS, and the search for the service deployment that runs an image.

/// Image of a container in a service revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionImage {
    /// Digest that ECS resolved the image to; none where it did not.
    pub digest: Option<String>,
    /// Image as the task definition names it.
    pub image: String,
}

/// Load balancer of a service revision, with the two target groups between which ECS shifts the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevisionBalancer {
    /// ARN of the rule of the production listener, or of the listener of a network load balancer.
    pub production_rule: Option<String>,
    /// ARN of the target group of this revision, as ECS resolved it; none where it did not say.
    pub own_group: Option<String>,
    /// ARNs of both target groups, in the order of the service's configuration.
    pub groups: Vec<String>,
}

impl RevisionBalancer {
    /// Returns the ARNs of the other revision's target group and of this one's. Where ECS's answer does not say which is which, `stated` decides, the pair
    /// of the pipeline's output, if it is the same two.
    pub fn pair<'a>(&'a self, stated: (Option<&'a str>, Option<&'a str>)) -> Option<(&'a str, &'a str)> {
        let [one, other] = self.groups.as_slice() else { return None };
        let (one, other) = (one.as_str(), other.as_str());
        let own = match &self.own_group {
            Some(own) => own.as_str(),
            None if matches!(stated, (Some(blue), Some(green)) if [(one, other), (other, one)].contains(&(blue, green))) => {
                stated.1?
            }
            None => return None,
        };
        match (one == own, other == own) {
            (true, false) => Some((other, own)),
            (false, true) => Some((one, own)),
            _ => None,
        }
    }
}

/// What ECS deploys with one service deployment: images and load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRevision {
    /// ARN of the revision.
    pub arn: String,
    /// Images of its containers.
    pub images: Vec<RevisionImage>,
    /// Load balancers with two target groups.
    pub balancers: Vec<RevisionBalancer>,
}

impl RevisionImage {
    /// Reports whether the digest alone says that this is the image: as ECS resolved it, or as the task definition names it.
    fn is(&self, digest: &str) -> bool {
        match &self.digest {
            Some(resolved) => resolved == digest,
            None => self.image.ends_with(&format!("@{digest}")),
        }
    }
}

impl ServiceRevision {
    /// Reports whether a container runs the image with `digest`, or the one that is named `uri`.
    pub fn runs(&self, digest: &str, uri: Option<&str>) -> bool {
        self.images.iter().any(|image| image.is(digest) || image.is_named(uri))
    }

    /// Images beside those with `digest`, in order.
    fn others(&self, digest: &str) -> Vec<&RevisionImage> {
        let mut others: Vec<&RevisionImage> = self.images.iter().filter(|image| !image.is(digest)).collect();
        others.sort_by(|a, b| (&a.digest, &a.image).cmp(&(&b.digest, &b.image)));
        others
    }
}

impl RevisionImage {
    /// Reports whether ECS resolved no digest, and the task definition names this tag.
    fn is_named(&self, uri: Option<&str>) -> bool {
        self.digest.is_none() && uri == Some(self.image.as_str())
    }
}

/// A service deployment with the revision that it deploys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// ARN of the service deployment.
    pub arn: String,
    /// Revision that it deploys; none if ECS does not show it.
    pub revision: Option<ServiceRevision>,
}

/// Result of the search for the service deployment of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The newest service deployment that runs the image.
    Found {
        /// ARN of that deployment.
        arn: String,
        /// ARNs of older ones that run it, too, the newest first.
        older: Vec<String>,
    },
    /// Two run the image beside different other images: one of them belongs to another deployment, in which the image has the part of a sidecar.
    Undecided {
        /// ARN of the newest.
        newest: String,
        /// ARN of the older one.
        older: String,
    },
    /// A revision names the image by its tag, and ECS resolved no digest.
    WithoutDigest {
        /// ARN of the revision.
        revision: String,
        /// Image as the task definition names it.
        image: String,
    },
    /// None runs the image.
    Nothing,
}

/// Searches `candidates`, the newest first, for the image with `digest`, which was pushed as `uri`.
///
/// The digest is that of this deployment's push, so that any container counts: where a proxy receives the traffic, the image is behind it. A name without a
/// digest is no proof: its tag may have been moved.
pub fn find(candidates: &[Candidate], digest: &str, uri: Option<&str>) -> Search {
    let with_revision =
        || candidates.iter().filter_map(|candidate| Some((&candidate.arn, candidate.revision.as_ref()?)));
    let runs = |revision: &ServiceRevision| revision.images.iter().any(|image| image.is(digest));
    let mut ours = with_revision().filter(|(_, revision)| runs(revision));
    let Some((newest, revision)) = ours.next() else {
        let named = |revision: &&ServiceRevision| revision.images.iter().find(|image| image.is_named(uri)).cloned();
        let named = with_revision().find_map(|(_, revision)| Some((revision.arn.clone(), named(&revision)?.image)));
        return named.map_or(Search::Nothing, |(revision, image)| Search::WithoutDigest { revision, image });
    };
    let mut older = Vec::new();
    for (arn, other) in ours {
        if other.others(digest) != revision.others(digest) {
            return Search::Undecided { newest: newest.clone(), older: arn.clone() };
        }
        older.push(arn.clone());
    }
    Search::Found { arn: newest.clone(), older }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "sha256:ours";
    const URI: &str = "registry/shop:dep_1";

    fn image(digest: Option<&str>, image: &str) -> RevisionImage {
        RevisionImage { digest: digest.map(str::to_owned), image: image.to_owned() }
    }

    fn revision(images: Vec<RevisionImage>) -> ServiceRevision {
        ServiceRevision { arn: "r".to_owned(), images, balancers: Vec::new() }
    }

    fn candidate(arn: &str, images: Vec<RevisionImage>) -> Candidate {
        Candidate { arn: arn.to_owned(), revision: Some(revision(images)) }
    }

    fn proxy(digest: &str) -> RevisionImage {
        image(Some(digest), "proxy:1")
    }

    #[test]
    fn revision_runs_image_by_digest_or_name() {
        let revision = |digest: Option<&str>, name: &str| revision(vec![proxy("sha256:sidecar"), image(digest, name)]);
        assert!(revision(Some("sha256:a"), "shop:dep_1").runs("sha256:a", None));
        assert!(!revision(Some("sha256:b"), "shop:dep_1").runs("sha256:a", Some("shop:dep_1")), "the tag was moved");
        assert!(revision(None, "shop@sha256:a").runs("sha256:a", None));
        assert!(revision(None, "shop:dep_1").runs("sha256:a", Some("shop:dep_1")));
        assert!(!revision(None, "shop:dep_2").runs("sha256:a", Some("shop:dep_1")));
        assert!(!super::tests::revision(Vec::new()).runs("sha256:a", None));
    }

    #[test]
    fn newest_of_ours_is_found_and_older_ones_are_named() {
        let ours = |arn: &str| candidate(arn, vec![proxy("sha256:p"), image(Some(OURS), URI)]);
        let other = candidate("other", vec![image(Some("sha256:other"), URI)]);
        let all = [other.clone(), ours("c"), other.clone(), ours("b"), ours("a")];
        let older = vec!["b".to_owned(), "a".to_owned()];
        assert_eq!(find(&all, OURS, Some(URI)), Search::Found { arn: "c".to_owned(), older });
        assert_eq!(find(&[other], OURS, Some(URI)), Search::Nothing, "the tag was moved");
        let unseen = Candidate { arn: "d".to_owned(), revision: None };
        assert_eq!(find(&[unseen], OURS, Some(URI)), Search::Nothing);
    }

    #[test]
    fn image_as_sidecar_of_another_deployment_decides_nothing() {
        let ours = |arn: &str, proxy_digest: &str| candidate(arn, vec![image(Some(OURS), URI), proxy(proxy_digest)]);
        let both = [ours("b", "sha256:new"), ours("a", "sha256:old")];
        let undecided = Search::Undecided { newest: "b".to_owned(), older: "a".to_owned() };
        assert_eq!(find(&both, OURS, None), undecided);
    }

    #[test]
    fn name_without_digest_is_no_proof() {
        let tagged = candidate("a", vec![image(None, URI)]);
        let without = Search::WithoutDigest { revision: "r".to_owned(), image: URI.to_owned() };
        assert_eq!(find(std::slice::from_ref(&tagged), OURS, Some(URI)), without);
        let named = candidate("b", vec![image(None, &format!("registry/shop@{OURS}"))]);
        let found = Search::Found { arn: "b".to_owned(), older: Vec::new() };
        assert_eq!(find(&[named, tagged], OURS, Some(URI)), found);
    }

    #[test]
    fn pair_is_known_by_the_resolved_group() {
        let balancer = |own: Option<&str>, groups: &[&str]| RevisionBalancer {
            production_rule: None,
            own_group: own.map(str::to_owned),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        let none = (None, None);
        assert_eq!(balancer(Some("2"), &["1", "2"]).pair(none), Some(("1", "2")));
        assert_eq!(balancer(Some("1"), &["1", "2"]).pair((Some("1"), Some("2"))), Some(("2", "1")), "ECS knows");
        assert_eq!(balancer(None, &["1", "2"]).pair((Some("2"), Some("1"))), Some(("2", "1")));
        for (unknown, stated) in [
            (balancer(None, &["1", "2"]), none),
            (balancer(None, &["1", "2"]), (Some("1"), Some("3"))),
            (balancer(Some("3"), &["1", "2"]), none),
            (balancer(Some("1"), &["1"]), none),
            (balancer(Some("1"), &["1", "1"]), none),
        ] {
            assert_eq!(unknown.pair(stated), None, "{unknown:?}");
        }
    }
}
