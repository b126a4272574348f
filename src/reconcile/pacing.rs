//! Intervals between polls of a step that waits: short after news, longer while a task runs.
//!
//! Everything is relative to the configured interval (2 s): polls follow each other at that interval for a while after news, and then at growing ones of
//! up to 13 s, so that a waiting task is seen to end within 15 s. Credits limit a deployment to 300 calls in half an hour even if each poll finds news.

use std::time::Duration;

use tokio::time::Instant;

/// Polls without news that still follow at the configured interval.
const SHORT_POLLS: u32 = 2;

/// Growth of the interval with each further poll.
const GROWTH: f64 = 2.0;

/// Longest interval while there is no news, in configured ones.
const LONGEST: f64 = 6.5;

/// Part of an interval by which it varies at random, so that deployments that began together do not poll together.
const JITTER: f64 = 0.1;

/// Calls that a deployment may make at the shortest interval.
const MAX_CREDITS: f64 = 40.0;

/// Configured intervals in which a call's credit returns: 240 calls in half an hour. So the calls of a poll with news return within 15 s.
const INTERVALS_PER_CREDIT: f64 = 3.75;

/// Shortest time between two polls, in configured intervals, when something happens again and again.
const SHORTEST_AFTER_WAKE: f64 = 0.25;

/// Calls of a poll that finds news which it did not expect: one that looks, and one that reads.
const CALLS_WITH_NEWS: f64 = 2.0;

/// The pace of one step's polls, in this process. Lost on a takeover, without harm.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// Polls in a row without news.
    quiet: u32,
    /// None before the first poll.
    last: Option<LastPoll>,
}

#[derive(Debug)]
struct LastPoll {
    at: Instant,
    credits: f64,
    /// Configured interval, on which all waits depend.
    interval: Duration,
}

impl Pacing {
    /// Returns the wait after a poll at `now`. `random` is between 0 and 1.
    pub(super) fn wait(&mut self, interval: Duration, news: bool, now: Instant, random: f64) -> Duration {
        let calls = if news && !self.expects_news() { CALLS_WITH_NEWS } else { 1.0 };
        self.quiet = if news { 0 } else { self.quiet.saturating_add(1) };
        let credits = self.spend(interval, calls, now);
        let grown = GROWTH.powi(i32::try_from(self.quiet.saturating_sub(SHORT_POLLS).min(100)).unwrap_or(100));
        // Without a credit for the next call, the wait is the time until there is one.
        let missing = (1.0 - credits).max(0.0) * INTERVALS_PER_CREDIT;
        let intervals = grown.min(LONGEST).max(missing);
        interval.mul_f64(intervals * (1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0)))
    }

    /// Reports whether the last poll found news, so that the next one is likely to find more.
    pub(super) fn expects_news(&self) -> bool {
        self.last.is_some() && self.quiet == 0
    }

    /// Returns the time of an early poll, because something may have happened; none for a step that does not poll, or has no credit for a call. The next polls follow at short
    /// intervals.
    pub(super) fn wake(&mut self, now: Instant) -> Option<Instant> {
        let last = self.last.as_ref()?;
        let intervals =
            now.saturating_duration_since(last.at).as_secs_f64() / last.interval.as_secs_f64().max(f64::EPSILON);
        if last.credits + intervals / INTERVALS_PER_CREDIT < 1.0 {
            return None;
        }
        self.quiet = 0;
        Some(last.at + last.interval.mul_f64(SHORTEST_AFTER_WAKE))
    }

    fn spend(&mut self, interval: Duration, calls: f64, now: Instant) -> f64 {
        let credits = self.last.as_ref().map_or(MAX_CREDITS, |last| {
            let since = now.saturating_duration_since(last.at).as_secs_f64();
            last.credits + since / interval.as_secs_f64().max(f64::EPSILON) / INTERVALS_PER_CREDIT
        });
        // The debt of one poll: polls that a message causes do not delay later ones.
        let credits = (credits.min(MAX_CREDITS) - calls).max(1.0 - CALLS_WITH_NEWS);
        self.last = Some(LastPoll { at: now, credits, interval });
        credits
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::domain::api_quota::ApiQuotas;

    const INTERVAL: Duration = Duration::from_secs(2);

    /// Polls for half an hour, with news at polls that `news` accepts by time. Returns the calls and the waits in seconds.
    fn half_an_hour(mut news: impl FnMut(f64) -> bool) -> (f64, Vec<f64>) {
        let (mut pacing, start) = (Pacing::default(), Instant::now());
        let (mut seconds, mut calls, mut waits) = (0.0, 0.0, Vec::new());
        while seconds < 1_800.0 {
            let found = news(seconds);
            calls += if found && !pacing.expects_news() { CALLS_WITH_NEWS } else { 1.0 };
            let now = start + Duration::from_secs_f64(seconds);
            let wait = pacing.wait(INTERVAL, found, now, rand::random()).as_secs_f64();
            waits.push(wait);
            seconds += wait;
        }
        (calls, waits)
    }

    #[test]
    fn half_an_hour_takes_at_most_300_calls() {
        let (quiet, waits) = half_an_hour(|_| false);
        assert!(quiet < 160.0, "{quiet}");
        assert!(waits.iter().all(|wait| *wait <= 14.5), "{waits:?}");
        for every in [2.0, 5.0, 10.0, 30.0, 90.0, 300.0] {
            let mut next = 0.0;
            let (calls, waits) = half_an_hour(|seconds| {
                let due = seconds >= next;
                if due {
                    next = seconds + every;
                }
                due
            });
            assert!(calls <= 300.0, "news every {every} s: {calls} calls");
            assert!(waits.iter().all(|wait| *wait <= 16.5), "news every {every} s: {waits:?}");
        }
        let (always, _) = half_an_hour(|_| true);
        assert!(always <= 300.0, "{always}");
    }

    #[test]
    fn polls_at_the_configured_interval_after_news() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let waits: Vec<u64> = [true, false, false, false, false, false, true]
            .map(|news| u64::try_from(pacing.wait(INTERVAL, news, now, 0.5).as_millis()).unwrap())
            .into();
        assert_eq!(waits, [2_000, 2_000, 2_000, 4_000, 8_000, 13_000, 2_000]);
        for _ in 0..10 {
            pacing.wait(INTERVAL, false, now, 0.5);
        }
        assert_eq!(pacing.wake(now), Some(now + INTERVAL / 4));
        assert_eq!(pacing.wait(INTERVAL, false, now, 0.5), INTERVAL);
    }

    #[test]
    fn messages_do_not_cause_more_calls_than_credits() {
        let (mut pacing, start) = (Pacing::default(), Instant::now());
        let (mut now, mut calls) = (start, 0);
        // A flood of messages: each wait is cut short as far as the pacing allows.
        while now < start + Duration::from_mins(30) {
            calls += 1;
            let due = now + pacing.wait(INTERVAL, false, now, 0.5);
            let mut early = now;
            while early < due && pacing.wake(early).is_none() {
                early += Duration::from_millis(100);
            }
            now = pacing.wake(early).map_or(due, |at| at.max(early)).min(due);
        }
        assert!(calls <= 300, "{calls}");
    }

    /// Deployments that a bucket carries: polled at the interval all the time, with news all the time, and waiting.
    fn carried(call: &str) -> [f64; 3] {
        let per_second = ApiQuotas::default().bucket(call, "ap-northeast-2").unwrap().quota.per_second;
        let interval = INTERVAL.as_secs_f64();
        let with_news = 300.0 / 1_800.0;
        [per_second * interval, per_second / with_news, per_second * interval * LONGEST]
    }

    fn thousands(number: f64) -> String {
        let digits = format!("{}", number.floor());
        let (head, tail) = digits.split_at(digits.len().saturating_sub(3));
        if head.is_empty() { tail.to_owned() } else { format!("{head},{tail}") }
    }

    fn sizing_table() -> String {
        let mut table =
            "\n| deployments that one account and region carries | call | fixed | with news all the time | waiting |\n| --- | --- | --- | --- | --- |\n".to_owned();
        for (what, call) in [
            ("followed executions, of the controller's account", "states:GetExecutionHistory"),
            ("rollouts and traffic shifts, of a user's account", "codedeploy:GetDeployment"),
        ] {
            let [fixed, news, waiting] = carried(call).map(thousands);
            writeln!(table, "| {what} | `{call}` | {fixed} | {news} | {waiting} |").unwrap();
        }
        let batches = ApiQuotas::default().bucket("codedeploy:BatchGetDeployments", "ap-northeast-2").unwrap();
        let batch = f64::from(u32::try_from(crate::clients::aws::MAX_BATCH).unwrap());
        let watched = thousands(batches.quota.per_second * 60.0 * batch);
        writeln!(
            table,
            "| awaiting their switch, of a user's account | `codedeploy:BatchGetDeployments` | | | {watched} |"
        )
        .unwrap();
        table
    }

    #[test]
    fn documented_sizing_follows_from_the_constants() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations-sizing.md");
        let (begin, end) = ("<!-- made by src/reconcile/pacing.rs -->", "<!-- end -->");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let made = format!("{before}{begin}{}{end}{after}", sizing_table());
        if std::env::var_os("PANDA_RENEW").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        pretty_assertions::assert_eq!(page, made, "`make docs-renew` writes it");
        // The quota as published carries 40 executions that are polled every 2 s.
        assert!((carried("states:GetExecutionHistory")[0] / 0.9 - 40.0).abs() < 0.001);
    }
}
