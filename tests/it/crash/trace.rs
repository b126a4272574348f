//! The trail of fail points that a process leaves.

use std::collections::{BTreeMap, HashSet};

/// A fail point, and the how-manieth time that it is come to.
pub type Point = (String, usize);

/// How often a point that is come to again and again is tried: the first time and once more.
const TIMES: usize = 2;

/// What comes before the name of the point where the process was ended.
const KILLED: &str = "killed at ";

/// A process's trail, in order.
pub struct Trace(String);

impl Trace {
    pub fn read(path: &std::path::Path) -> Self {
        // A process that was killed before its first point has left nothing.
        Self(std::fs::read_to_string(path).unwrap_or_default())
    }

    /// Whether the notification of the last commit is out.
    pub fn is_complete(&self) -> bool {
        self.0.lines().last().is_some_and(|line| line.ends_with("notify/after"))
    }

    /// Steps that have a point.
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
            if *times <= TIMES && (is_new(name) || leads) {
                points.push(((*name).to_owned(), *times));
            }
        }
        points
    }

    /// The points where the process was ended: one, or two that came at the same moment.
    pub fn killed_at(&self) -> HashSet<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix(KILLED)).collect()
    }
}

fn step_of(point: &str) -> Option<&str> {
    point.split('/').next()
}
