//! Memory and processor time of processes, from `/proc`.

/// Returns the resident memory of a process now.
pub fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}

/// Returns the processor time of all threads of a process in seconds, as the scheduler counts it: to the nanosecond, where `/proc/*/stat` has
/// hundredths of a second. Excludes threads that have ended.
pub fn scheduled_seconds(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    std::time::Duration::from_nanos(nanoseconds.sum()).as_secs_f64()
}

/// Processor time from /proc; its unit is a hundredth of a second on every known Linux.
pub struct Cpu {
    pub parent: u32,
    /// Of the process, in seconds.
    pub own: f64,
    /// Of its children that have ended, in seconds.
    pub ended_children: f64,
}

/// Returns the processor time of a process; none when it has ended.
pub fn cpu_of(pid: u32) -> Option<Cpu> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the bracket may contain anything.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let seconds = |at: usize| fields[at].parse::<f64>().unwrap_or_default() / 100.0;
    Some(Cpu {
        parent: fields[1].parse().ok()?,
        own: seconds(11) + seconds(12),
        ended_children: seconds(13) + seconds(14),
    })
}
