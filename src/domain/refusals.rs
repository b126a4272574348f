//! Refusals in bounded room: the first of a kind is a separate row, its repetitions within a window are counted.
//!
//! A caller with any right at all can have requests refused as fast as they can be sent, and the audit is append-only. So a window has at most
//! `EXACT` kinds of a caller with their target, then `COARSE` without, then one row for the rest; and at most `CALLERS` callers, then one
//! row for all others. Each kind is two rows at most: its first refusal, and how many followed.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::audit::Action;
use super::principal::{Caller, Kind};

/// How long repetitions are counted before they are written.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Kinds of one caller, with their target.
const EXACT: usize = 10;

/// Further kinds of one caller, whatever their target.
const COARSE: usize = 10;

/// Callers.
const CALLERS: usize = 100;

/// Error code of a row that stands for several.
pub const SEVERAL: &str = "SEVERAL";

/// Subject of a row that stands for several callers.
pub const EVERYONE_ELSE: &str = "*";

/// What was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Who asked.
    pub by: Caller,
    /// For what.
    pub action: Action,
    /// Of what.
    pub target: Option<String>,
    /// Why not.
    pub code: &'static str,
    /// More of it.
    pub details: Value,
}

/// Refusals that are one row.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The last of them; without a target where they had several.
    pub last: Refusal,
    /// Whether it stands for several callers, of whom `last` names one.
    pub several_callers: bool,
    /// How many.
    pub times: i32,
    /// When the first was.
    pub first_at: Instant,
    /// When the last was.
    pub last_at: Instant,
}

/// The refusals of a window.
#[derive(Debug, Default)]
pub struct Window {
    callers: HashMap<Who, Counts>,
    others: Count,
}

/// Who asked, as far as callers are distinguished here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    subject: String,
    kind: &'static str,
    token: Option<String>,
    /// Where from, while authentication is off.
    from: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Counts {
    exact: HashMap<(Action, &'static str, Option<String>), Count>,
    coarse: HashMap<(Action, &'static str), Count>,
    rest: Count,
}

/// Of a kind: nothing yet but what is a row already.
#[derive(Debug, Default)]
struct Count(Option<Tally>);

impl Count {
    fn add(&mut self, refusal: Refusal, at: Instant) {
        match &mut self.0 {
            Some(tally) => {
                tally.times = tally.times.saturating_add(1);
                (tally.last, tally.last_at) = (refusal, at);
            }
            None => {
                self.0 = Some(Tally { last: refusal, several_callers: false, times: 1, first_at: at, last_at: at });
            }
        }
    }
}

impl Window {
    /// Adds a refusal; gives it back when it is to be a row now.
    pub fn add(&mut self, refusal: Refusal, at: Instant) -> Option<Refusal> {
        let who = Who::of(&refusal.by);
        if self.callers.len() >= CALLERS && !self.callers.contains_key(&who) {
            self.others.add(refusal, at);
            return None;
        }
        let counts = self.callers.entry(who).or_default();
        let key = (refusal.action, refusal.code, refusal.target.clone());
        if let Some(count) = counts.exact.get_mut(&key) {
            count.add(refusal, at);
            return None;
        }
        if counts.exact.len() < EXACT {
            counts.exact.insert(key, Count::default());
            return Some(refusal);
        }
        let key = (refusal.action, refusal.code);
        if counts.coarse.len() < COARSE || counts.coarse.contains_key(&key) {
            counts.coarse.entry(key).or_default().add(refusal, at);
        } else {
            counts.rest.add(refusal, at);
        }
        None
    }

    /// What is to be written at the window's end. The next one is empty.
    pub fn take(&mut self) -> Vec<Tally> {
        let Self { callers, others } = std::mem::take(self);
        let mut rows = Vec::new();
        for counts in callers.into_values() {
            rows.extend(counts.exact.into_values().filter_map(|count| count.0));
            for mut tally in counts.coarse.into_values().filter_map(|count| count.0) {
                tally.last.target = None;
                tally.last.details["targets"] = json!("several");
                rows.push(tally);
            }
            rows.extend(counts.rest.0.map(several));
        }
        let others = others.0.map(|tally| Tally { several_callers: true, ..several(tally) });
        rows.extend(others);
        rows.sort_by_key(|tally| tally.last_at);
        rows
    }
}

/// Of which one cannot say more than how many they were, and what the last was.
fn several(mut tally: Tally) -> Tally {
    tally.last.details = json!({"lastCode": tally.last.code});
    (tally.last.target, tally.last.code) = (None, SEVERAL);
    tally
}

impl Who {
    fn of(caller: &Caller) -> Self {
        let principal = &caller.principal;
        let token = if let Kind::Token(id) = &principal.kind { Some(id.clone()) } else { None };
        let from = (principal.kind == Kind::Nobody).then(|| network(caller.address));
        Self { subject: principal.subject.clone(), kind: principal.kind.as_str(), token, from }
    }
}

/// The network that an address is of: one client may have all addresses of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::from([address.octets()[0], address.octets()[1], address.octets()[2], 0]),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::principal::Principal;

    const CODES: [&str; 30] = [
        "C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12", "C13", "C14", "C15", "C16",
        "C17", "C18", "C19", "C20", "C21", "C22", "C23", "C24", "C25", "C26", "C27", "C28", "C29",
    ];

    fn by(name: &str) -> Caller {
        let kind = Kind::Token(format!("tok_{name}"));
        let principal = Principal { subject: name.to_owned(), kind, ..Principal::nobody() };
        Caller { principal: Arc::new(principal), ..Caller::local() }
    }

    fn refusal(by: &Caller, target: &str, code: &'static str) -> Refusal {
        let (by, target) = (by.clone(), Some(target.to_owned()));
        Refusal { by, action: Action::Switch, target, code, details: json!({"status": 403}) }
    }

    #[test]
    fn the_first_is_a_row_and_repetitions_are_one_more() {
        let (mut window, now) = (Window::default(), Instant::now());
        let add = |window: &mut Window, target| window.add(refusal(&by("a"), target, "NOT_ALLOWED"), now).is_some();
        assert!(add(&mut window, "dep_1") && add(&mut window, "dep_2"));
        for _ in 0..100 {
            assert!(!add(&mut window, "dep_1"));
        }
        let rows = window.take();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].times, rows[0].last.target.as_deref()), (100, Some("dep_1")));
        assert!(window.take().is_empty() && add(&mut window, "dep_1"), "the next window begins with a row");
    }

    #[test]
    fn whatever_a_caller_sends_it_is_a_bounded_number_of_rows_and_none_is_lost() {
        let (mut window, now) = (Window::default(), Instant::now());
        let mut now_rows = 0;
        for number in 0..9_000 {
            let refusal = refusal(&by("a"), &format!("dep_{number}"), CODES[number % CODES.len()]);
            now_rows += usize::from(window.add(refusal, now).is_some());
        }
        let rows = window.take();
        assert_eq!((now_rows, rows.len()), (EXACT, COARSE + 1));
        let counted: i32 = rows.iter().map(|row| row.times).sum();
        assert_eq!(usize::try_from(counted).unwrap() + now_rows, 9_000);
        assert_eq!(rows.iter().filter(|row| row.last.code == SEVERAL).count(), 1);
        assert!(rows.iter().all(|row| row.last.target.is_none()));
    }

    #[test]
    fn very_many_callers_are_a_bounded_number_of_rows() {
        let (mut window, now) = (Window::default(), Instant::now());
        let mut now_rows = 0;
        for number in 0..5_000 {
            let refusal = refusal(&by(&format!("a{number}")), "dep_1", "NOT_ALLOWED");
            now_rows += usize::from(window.add(refusal, now).is_some());
        }
        let rows = window.take();
        assert_eq!((now_rows, rows.len()), (CALLERS, 1));
        assert!(rows[0].several_callers && rows[0].times == 4_900 && rows[0].last.code == SEVERAL);
    }

    #[test]
    fn without_authentication_networks_are_distinguished() {
        let from = |address: &str| Who::of(&Caller { address: address.parse().unwrap(), ..Caller::local() });
        assert_eq!(from("192.0.2.1"), from("192.0.2.77"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.77"));
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:1"));
        assert_ne!(from("192.0.2.1"), from("192.0.3.1"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
    }
}
