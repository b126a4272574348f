//! Freezes: times in which deployments are not started, or not switched. The rule is pure: freezes, a place and a time of the database give the
//! freeze that holds, and until when.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::message::{Message, message};
use super::validate;

/// Longest time from now until the end of a freeze.
pub const MAX_AHEAD: TimeDelta = TimeDelta::days(366);

/// Maximum number of freezes that are in force or to come.
pub const MAX_PENDING: i64 = 500;

/// Acts that a freeze holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::IntoStaticStr, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase", parse_err_ty = Message, parse_err_fn = unknown_holds)]
pub enum Holds {
    /// Starts: deployments wait in the queue.
    Starts,
    /// Switches: requests to move the traffic are refused.
    Switches,
    /// Starts as well as switches.
    #[default]
    Both,
}

impl Holds {
    /// Returns the name used on the wire and in the table.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown_holds(text: &str) -> Message {
    message!("rule.freeze_holds", value = format!("{text:?}"))
}

/// An act that a freeze may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A deployment starts, or a further attempt of one.
    Start,
    /// A deployment's traffic moves to green.
    Switch,
}

/// Deployments that a freeze concerns. Names of GitHub are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeScope {
    /// Every deployment of the installation.
    All,
    /// Deployments to an AWS account.
    Account(String),
    /// Deployments to an AWS region, in any account.
    Region(String),
    /// Deployments of the repositories of an account or organisation on GitHub.
    Owner(String),
    /// Deployments of a repository: owner and name.
    Repository(String, String),
}

impl fmt::Display for FreezeScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Account(id) => write!(f, "account:{id}"),
            Self::Region(region) => write!(f, "region:{region}"),
            Self::Owner(owner) => write!(f, "owner:{owner}"),
            Self::Repository(owner, repo) => write!(f, "repository:{owner}/{repo}"),
        }
    }
}

impl FromStr for FreezeScope {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        let broken = |rule: Message| message!("rule.freeze_scope_part", rule);
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("account", id)) if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Self::Account(id.to_owned()))
            }
            Some(("account", _)) => Err(message!("rule.freeze_account")),
            Some(("region", region)) if is_region(region) => Ok(Self::Region(region.to_owned())),
            Some(("region", _)) => Err(broken(message!("rule.region"))),
            Some(("owner", owner)) => {
                validate::owner(owner).map_err(broken)?;
                Ok(Self::Owner(owner.to_ascii_lowercase()))
            }
            Some(("repository", name)) => {
                let (owner, repo) = name.split_once('/').ok_or_else(|| message!("rule.freeze_repository"))?;
                validate::owner(owner).map_err(broken)?;
                validate::repo(repo).map_err(broken)?;
                Ok(Self::Repository(owner.to_ascii_lowercase(), repo.to_ascii_lowercase()))
            }
            _ => Err(message!("rule.freeze_scope")),
        }
    }
}

/// Reports that a text has the form of a region. Which regions exist is checked where a freeze is created, because an operator may add some.
fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The place of a deployment, by which freezes concern it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Account or organisation of the source.
    pub owner: String,
    /// Repository of the source.
    pub repo: String,
    /// AWS account that is deployed to.
    pub account_id: String,
    /// AWS region that is deployed to.
    pub region: String,
}

impl FreezeScope {
    /// Returns the kind of the scope, as the text begins, and the name after it; none for `all`.
    pub fn parts(&self) -> (&'static str, Option<String>) {
        match self {
            Self::All => ("all", None),
            Self::Account(id) => ("account", Some(id.clone())),
            Self::Region(region) => ("region", Some(region.clone())),
            Self::Owner(owner) => ("owner", Some(owner.clone())),
            Self::Repository(owner, repo) => ("repository", Some(format!("{owner}/{repo}"))),
        }
    }

    /// Reports that deployments of this place are in the scope.
    pub fn covers(&self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Account(id) => *id == place.account_id,
            Self::Region(region) => *region == place.region,
            Self::Owner(owner) => owner.eq_ignore_ascii_case(&place.owner),
            Self::Repository(owner, repo) => {
                owner.eq_ignore_ascii_case(&place.owner) && repo.eq_ignore_ascii_case(&place.repo)
            }
        }
    }
}

/// A freeze that was not lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Id, with the prefix `frz_`.
    pub id: String,
    /// Deployments that it concerns.
    pub scope: FreezeScope,
    /// Acts that it holds.
    pub holds: Holds,
    /// Reason in the words of its author.
    pub reason: String,
    /// Subject of the caller that created it.
    pub created_by: String,
    /// Time from which on it holds.
    pub starts_at: DateTime<Utc>,
    /// Its end, after the beginning.
    pub ends_at: DateTime<Utc>,
}

impl Freeze {
    fn concerns(&self, place: &Place, act: Act) -> bool {
        let held = match act {
            Act::Start => self.holds != Holds::Switches,
            Act::Switch => self.holds != Holds::Starts,
        };
        held && self.scope.covers(place)
    }

    fn is_in_force(&self, now: DateTime<Utc>) -> bool {
        self.starts_at <= now && now < self.ends_at
    }
}

/// The freezes in force or to come, at a time of the database.
#[derive(Clone, Debug, Default)]
pub struct PendingFreezes {
    /// Time of the database at which they were read.
    pub now: DateTime<Utc>,
    /// Those that have not ended and were not lifted, in no order.
    pub freezes: Vec<Freeze>,
}

impl PendingFreezes {
    /// Returns the freeze that holds the act at this place now, of several the one that ends last, and the end: its own, or that of one that follows without
    /// a gap. None when the act is free.
    pub fn hold(&self, place: &Place, act: Act) -> Option<(Freeze, DateTime<Utc>)> {
        let concerned: Vec<&Freeze> = self.freezes.iter().filter(|freeze| freeze.concerns(place, act)).collect();
        let freeze =
            concerned.iter().filter(|one| one.is_in_force(self.now)).max_by_key(|one| (one.ends_at, &one.id))?;
        let mut until = freeze.ends_at;
        while let Some(next) = concerned.iter().filter(|one| one.starts_at <= until).map(|one| one.ends_at).max()
            && next > until
        {
            until = next;
        }
        Some(((*freeze).clone(), until))
    }
}

/// Checks the time of a new freeze, and returns it: a beginning that is absent or past is `now`.
///
/// # Errors
/// Field and rule that it breaks.
pub fn period(
    starts_at: Option<DateTime<Utc>>,
    ends_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), validate::FieldRefusal> {
    let refused = |rule| Err(validate::FieldRefusal::new("endsAt", rule));
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    if ends_at <= now {
        return refused(message!("rule.freeze_past", now = time(now)));
    }
    if starts_at.is_some_and(|starts_at| ends_at <= starts_at) {
        return refused(message!("rule.freeze_order"));
    }
    if ends_at > now + MAX_AHEAD {
        return refused(message!("rule.freeze_far", max = MAX_AHEAD.num_days()));
    }
    Ok((starts_at.map_or(now, |at| at.max(now)), ends_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn freeze(id: &str, scope: &str, holds: Holds, (from, to): (i64, i64)) -> Freeze {
        let (starts_at, ends_at) = (at(from), at(to));
        let (reason, created_by) = ("audit".to_owned(), "alice".to_owned());
        Freeze { id: id.to_owned(), scope: scope.parse().unwrap(), holds, reason, created_by, starts_at, ends_at }
    }

    fn place() -> Place {
        let text = str::to_owned;
        Place { owner: text("Acme"), repo: text("Shop"), account_id: text("123456789012"), region: text("eu-west-1") }
    }

    fn hold(freezes: &[Freeze], act: Act, minute: i64) -> Option<(String, i64)> {
        let pending = PendingFreezes { now: at(minute), freezes: freezes.to_vec() };
        pending.hold(&place(), act).map(|(freeze, until)| (freeze.id, (until - at(0)).num_minutes()))
    }

    #[test]
    fn scopes_cover_their_places_whatever_the_case() {
        for covers in ["all", "account:123456789012", "region:eu-west-1", "owner:ACME", "repository:acme/SHOP"] {
            assert!(covers.parse::<FreezeScope>().unwrap().covers(&place()), "{covers}");
        }
        for other in ["account:123456789013", "region:eu-west-2", "owner:acm", "repository:acme/shop2"] {
            assert!(!other.parse::<FreezeScope>().unwrap().covers(&place()), "{other}");
        }
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        for text in ["all", "account:123456789012", "region:eu-west-1", "owner:acme", "repository:acme/shop.io"] {
            assert_eq!(text.parse::<FreezeScope>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "All",
            "all:",
            "acme/shop",
            "account:",
            "account:12345678901",
            "account:12345678901x",
            "region:",
            "region:EU",
            "region:a b",
            "owner:",
            "owner:-a",
            "owner:a/b",
            "repository:",
            "repository:acme",
            "repository:acme/",
            "repository:acme/*",
            "repository:/shop",
            "team:acme",
        ];
        for text in wrong {
            assert!(text.parse::<FreezeScope>().is_err(), "{text:?}");
        }
        assert!("all".parse::<Holds>().is_err() && "both".parse::<Holds>() == Ok(Holds::Both));
    }

    #[test]
    fn holds_from_its_beginning_until_before_its_end() {
        let one = [freeze("a", "all", Holds::Both, (10, 20))];
        let until = Some(("a".to_owned(), 20));
        for (minute, held) in [(9, None), (10, until.clone()), (19, until), (20, None)] {
            assert_eq!(hold(&one, Act::Start, minute), held, "{minute}");
        }
    }

    #[test]
    fn holds_only_its_acts() {
        for (holds, start, switch) in
            [(Holds::Starts, true, false), (Holds::Switches, false, true), (Holds::Both, true, true)]
        {
            let one = [freeze("a", "owner:acme", holds, (0, 20))];
            assert_eq!((hold(&one, Act::Start, 1).is_some(), hold(&one, Act::Switch, 1).is_some()), (start, switch));
        }
    }

    #[test]
    fn names_the_last_and_waits_for_those_that_follow() {
        let all = [
            freeze("long", "all", Holds::Both, (0, 30)),
            freeze("short", "all", Holds::Both, (0, 10)),
            freeze("next", "owner:acme", Holds::Starts, (30, 40)),
            freeze("later", "all", Holds::Both, (41, 50)),
            freeze("other", "owner:toys", Holds::Both, (0, 99)),
        ];
        assert_eq!(hold(&all, Act::Start, 5), Some(("long".to_owned(), 40)));
        assert_eq!(hold(&all, Act::Switch, 5), Some(("long".to_owned(), 30)));
        assert_eq!(hold(&all, Act::Start, 40), None);
    }

    #[test]
    fn period_is_ordered_and_bounded() {
        let check = |from: Option<i64>, to: i64| period(from.map(at), at(to), at(100));
        assert_eq!(check(None, 101), Ok((at(100), at(101))));
        assert_eq!(check(Some(50), 101), Ok((at(100), at(101))), "a freeze holds nothing in the past");
        assert_eq!(check(Some(200), 201), Ok((at(200), at(201))));
        let furthest = 100 + MAX_AHEAD.num_minutes();
        assert!(check(None, furthest).is_ok());
        for (from, to) in [(None, 100), (Some(50), 60), (Some(200), 200), (Some(200), 150), (None, furthest + 1)] {
            assert_eq!(check(from, to).unwrap_err().field, "endsAt", "{from:?} {to}");
        }
    }
}
