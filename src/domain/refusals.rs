//! Bounded record of refused requests, and of calls of the tools of `/mcp`: the first refusal of a kind is a separate audit row, repetitions within a window are counted.
//!
//! Any authenticated caller can cause refusals as fast as it can send requests, and the audit is append-only. Therefore a window has, for
//! each caller, at most `EXACT` kinds with their target, then `COARSE` kinds without it, then one row for the rest; and at most `CALLERS`
//! callers, then one row for all others. Each kind has at most two rows: its first refusal, and the number of repetitions.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::audit::Action;
use super::principal::{AuthMethod, Caller};

/// Length of a window: repetitions are counted this long before they are written.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Maximum number of kinds of one caller that are counted with their target.
const EXACT: usize = 10;

/// Maximum number of further kinds of one caller that are counted without their target.
const COARSE: usize = 10;

/// Maximum number of callers that are counted separately.
const CALLERS: usize = 100;

/// Error code of a row that stands for several codes.
pub const SEVERAL: &str = "SEVERAL";

/// Subject of a row that stands for several callers.
pub const EVERYONE_ELSE: &str = "*";

/// A refused request for an audited action, or a call of a tool.
#[derive(Clone, Debug)]
pub struct RefusedAction {
    /// Caller whose request was refused.
    pub by: Caller,
    /// Action that the caller requested.
    pub action: Action,
    /// Id of the object that the action concerns.
    pub target: Option<String>,
    /// Error code of the answer; none for a tool's call that was answered.
    pub code: Option<&'static str>,
    /// Further fields of the audit row.
    pub details: Value,
}

/// Refusals that share one row.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Last of the refusals; without a target if they had several.
    pub last: RefusedAction,
    /// True if the row stands for several callers, of which `last` names one.
    pub several_callers: bool,
    /// Number of refusals in the row.
    pub times: i32,
    /// Time of the first refusal.
    pub first_at: Instant,
    /// Time of the last refusal.
    pub last_at: Instant,
}

/// Refusals of the current window.
#[derive(Debug, Default)]
pub struct Window {
    callers: HashMap<CallerKey, Counts>,
    others: Count,
}

/// Properties by which callers are distinguished.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CallerKey {
    subject: String,
    kind: &'static str,
    token: Option<String>,
    /// Network of the client, only while authentication is off.
    from: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Counts {
    exact: HashMap<(Action, Option<&'static str>, Option<String>), Count>,
    coarse: HashMap<(Action, Option<&'static str>), Count>,
    rest: Count,
}

/// Repetitions of one kind; none if its first refusal, which has its own row, was the only one.
#[derive(Debug, Default)]
struct Count(Option<Tally>);

impl Count {
    fn add(&mut self, refusal: RefusedAction, at: Instant) {
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
    /// Adds a refusal. Returns it if the caller must write it as its own row now.
    pub fn add(&mut self, refusal: RefusedAction, at: Instant) -> Option<RefusedAction> {
        let caller = CallerKey::of(&refusal.by);
        if self.callers.len() >= CALLERS && !self.callers.contains_key(&caller) {
            self.others.add(refusal, at);
            return None;
        }
        let counts = self.callers.entry(caller).or_default();
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

    /// Ends the window: returns the rows to write and starts an empty window.
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

/// Reduces a tally of different codes to the number of refusals and the last code.
fn several(mut tally: Tally) -> Tally {
    tally.last.details = json!({"lastCode": tally.last.code});
    (tally.last.target, tally.last.code) = (None, tally.last.code.map(|_| SEVERAL));
    tally
}

impl CallerKey {
    fn of(caller: &Caller) -> Self {
        let principal = &caller.principal;
        let token = if let AuthMethod::Token(id) = &principal.kind { Some(id.clone()) } else { None };
        let from = (principal.kind == AuthMethod::Nobody).then(|| network(caller.address));
        Self { subject: principal.subject.clone(), kind: principal.kind.as_str(), token, from }
    }
}

/// Returns the network (IPv4 /24, IPv6 /64) of an address, since one client may control all its addresses.
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
        let kind = AuthMethod::Token(format!("tok_{name}"));
        let principal = Principal { subject: name.to_owned(), kind, ..Principal::without_authentication() };
        Caller { principal: Arc::new(principal), ..Caller::local() }
    }

    fn refusal(by: &Caller, target: &str, code: &'static str) -> RefusedAction {
        let (by, target) = (by.clone(), Some(target.to_owned()));
        RefusedAction { by, action: Action::Switch, target, code: Some(code), details: json!({"status": 403}) }
    }

    #[test]
    fn repetitions_share_one_further_row() {
        let (mut window, now) = (Window::default(), Instant::now());
        let add = |window: &mut Window, target| window.add(refusal(&by("a"), target, "NOT_ALLOWED"), now).is_some();
        assert!(add(&mut window, "dep_1") && add(&mut window, "dep_2"));
        for _ in 0..100 {
            assert!(!add(&mut window, "dep_1"));
        }
        let rows = window.take();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].times, rows[0].last.target.as_deref()), (100, Some("dep_1")));
        assert!(
            window.take().is_empty() && add(&mut window, "dep_1"),
            "the first refusal of the next window is a row again"
        );
    }

    #[test]
    fn rows_of_one_caller_are_bounded_and_complete() {
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
        assert_eq!(rows.iter().filter(|row| row.last.code == Some(SEVERAL)).count(), 1);
        assert!(rows.iter().all(|row| row.last.target.is_none()));
    }

    #[test]
    fn rows_of_many_callers_are_bounded() {
        let (mut window, now) = (Window::default(), Instant::now());
        let mut now_rows = 0;
        for number in 0..5_000 {
            let refusal = refusal(&by(&format!("a{number}")), "dep_1", "NOT_ALLOWED");
            now_rows += usize::from(window.add(refusal, now).is_some());
        }
        let rows = window.take();
        assert_eq!((now_rows, rows.len()), (CALLERS, 1));
        assert!(rows[0].several_callers && rows[0].times == 4_900 && rows[0].last.code == Some(SEVERAL));
    }

    #[test]
    fn distinguishes_networks_without_authentication() {
        let from = |address: &str| CallerKey::of(&Caller { address: address.parse().unwrap(), ..Caller::local() });
        assert_eq!(from("192.0.2.1"), from("192.0.2.77"));
        assert_eq!(from("::ffff:192.0.2.1"), from("192.0.2.77"));
        assert_eq!(from("2001:db8::1"), from("2001:db8::ffff:1"));
        assert_ne!(from("192.0.2.1"), from("192.0.3.1"));
        assert_ne!(from("2001:db8::1"), from("2001:db8:0:1::1"));
    }
}
