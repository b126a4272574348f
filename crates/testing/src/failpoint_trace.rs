//! The trace of fail points that a process writes.

use std::collections::{BTreeMap, HashSet};

/// A fail point, and the ordinal of its occurrence.
pub type Point = (String, usize);

/// Occurrences of a repeated point that are tried: the first and the second.
const OCCURRENCES: usize = 2;

/// Precedes the name of the point at which the process was killed.
const KILLED: &str = "killed at ";

/// A process's trace, in order.
pub struct Trace(String);

impl Trace {
    pub fn read(path: &std::path::Path) -> Self {
        // A process that was killed before its first point has written nothing.
        Self(std::fs::read_to_string(path).unwrap_or_default())
    }

    /// True once the notification of the last commit was sent.
    pub fn is_complete(&self) -> bool {
        self.0.lines().last().is_some_and(|line| line.ends_with("notify/after"))
    }

    /// Steps with at least one point.
    pub fn steps(&self) -> HashSet<&str> {
        self.0.lines().filter_map(step_of).collect()
    }

    /// The points to kill at: those of steps that are not `covered` yet, and the commits that lead to such a step.
    pub fn points(&self, covered: &HashSet<String>) -> Vec<Point> {
        let is_new = |name: &str| step_of(name).is_some_and(|step| !covered.contains(step));
        let lines: Vec<&str> = self.0.lines().collect();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut points = Vec::new();
        for (n, name) in lines.iter().enumerate() {
            let times = seen.entry(name).or_default();
            *times += 1;
            let leads = name.contains("/commit/") && {
                let step = step_of(name);
                let after = lines[n..].iter().find(|later| step_of(later) != step && !later.starts_with("replica/"));
                after.is_some_and(|later| is_new(later))
            };
            if *times <= OCCURRENCES && (is_new(name) || leads) {
                points.push(((*name).to_owned(), *times));
            }
        }
        points
    }

    /// The points at which the process was killed: one, or two that were reached concurrently.
    pub fn killed_at(&self) -> HashSet<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix(KILLED)).collect()
    }
}

fn step_of(point: &str) -> Option<&str> {
    point.split('/').next()
}
