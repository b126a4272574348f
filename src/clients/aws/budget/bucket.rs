//! A replica's part of one bucket: the tokens of its slice, and the calls that wait for more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Priority;
use crate::domain::api_budget::{BudgetKey, SliceRequest};
use crate::domain::api_quota::ApiQuota;

/// Time after which unused tokens of a slice expire: AWS's bucket overflows meanwhile, so that keeping them longer would exceed the quota later. The tenth
/// of a quota that Panda leaves is about what a bucket of Step Functions refills in this time.
const SLICE_TTL: Duration = Duration::from_secs(2);

/// Part of a bucket that one replica uses.
#[derive(Debug)]
pub(super) struct LocalBucket {
    quota: ApiQuota,
    tokens: u32,
    expires: Instant,
    /// Tokens used since `taken`, to estimate how many the next moments need.
    used: u32,
    taken: Instant,
    /// Waiting calls, by priority, in order of arrival.
    waiting: [VecDeque<oneshot::Sender<()>>; Priority::COUNT],
    throttled: bool,
    /// Level of the bucket while the shared one is unreachable: tokens, and when they were counted.
    unshared: Option<(f64, Instant)>,
}

impl LocalBucket {
    pub(super) fn new(quota: ApiQuota, now: Instant) -> Self {
        let waiting = Default::default();
        Self { quota, tokens: 0, expires: now, used: 0, taken: now, waiting, throttled: false, unshared: None }
    }

    /// Takes a token, if there is one and no call waits that goes before.
    pub(super) fn try_take(&mut self, priority: Priority, now: Instant) -> bool {
        let ahead = self.waiting[..=priority as usize].iter().flatten().any(|waiter| !waiter.is_closed());
        if ahead || self.tokens == 0 || self.expires <= now {
            return false;
        }
        self.tokens -= 1;
        self.used += 1;
        true
    }

    /// Returns the token for which the caller waits.
    pub(super) fn wait(&mut self, priority: Priority) -> oneshot::Receiver<()> {
        let (give, given) = oneshot::channel();
        self.waiting[priority as usize].push_back(give);
        given
    }

    /// Notes that AWS throttled a call: what is left of the slice is void.
    pub(super) fn throttled(&mut self) {
        (self.throttled, self.tokens) = (true, 0);
    }

    /// Returns the request for the next slice; none when nothing waits.
    pub(super) fn request(&mut self, key: &BudgetKey, now: Instant) -> Option<SliceRequest> {
        for queue in &mut self.waiting {
            queue.retain(|waiter| !waiter.is_closed());
        }
        let count = |priority: Priority| u32::try_from(self.waiting[priority as usize].len()).unwrap_or(u32::MAX);
        let first = count(Priority::Urgent).saturating_add(count(Priority::Normal));
        let polls = count(Priority::Poll);
        if first == 0 && polls == 0 && !self.throttled {
            return None;
        }
        let throttled = std::mem::take(&mut self.throttled);
        Some(SliceRequest { key: key.clone(), quota: self.quota, first, polls, spare: self.spare(now), throttled })
    }

    /// Estimates the tokens of the next moments: those of the last ones, and at most what the bucket refills meanwhile.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2,000,000")]
    fn spare(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.taken).max(Duration::from_millis(100)).as_secs_f64();
        let length = SLICE_TTL.as_secs_f64();
        (f64::from(self.used) / since * length).min(self.quota.per_second * length) as u32
    }

    /// Hands out a slice: first to the waiting calls; the rest is kept for later ones.
    pub(super) fn grant(&mut self, tokens: u32, now: Instant) {
        let mut left = tokens;
        let mut given = 0;
        for queue in &mut self.waiting {
            while left > 0
                && let Some(waiter) = queue.pop_front()
            {
                // A caller that has stopped waiting takes no token.
                if waiter.send(()).is_ok() {
                    (left, given) = (left - 1, given + 1);
                }
            }
        }
        (self.used, self.taken) = (given, now);
        (self.tokens, self.expires) = (left, now + SLICE_TTL);
    }

    /// Takes a slice without the shared bucket: of the refill alone when it is unreachable, of a full bucket when there is none.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the waiting calls")]
    pub(super) fn unshared_slice(&mut self, request: &SliceRequest, exists: bool, now: Instant) -> u32 {
        let most = if exists { self.quota.per_second.max(1.0) } else { self.quota.burst };
        let (tokens, counted) = self.unshared.unwrap_or((most, now));
        let refilled = self.quota.per_second * now.saturating_duration_since(counted).as_secs_f64();
        let level = (tokens + refilled).min(most);
        let level = if request.throttled { 0.0 } else { level };
        let granted = level.floor().min(f64::from(request.first.saturating_add(request.polls)));
        self.unshared = Some((level - granted, now));
        granted as u32
    }

    /// Notes that the shared bucket is reachable.
    pub(super) fn shared_again(&mut self) {
        self.unshared = None;
    }

    /// Reports whether calls wait.
    pub(super) fn is_starved(&self) -> bool {
        self.waiting.iter().flatten().any(|waiter| !waiter.is_closed())
    }

    /// Reports that nothing of this value is of use any more.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        !self.throttled && self.expires <= now && !self.is_starved() && self.unshared.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> (LocalBucket, BudgetKey, Instant) {
        let now = Instant::now();
        let key = BudgetKey { account: "111122223333".into(), region: "us-east-1".into(), call: "states:X".into() };
        (LocalBucket::new(ApiQuota { burst: 100.0, per_second: 10.0 }, now), key, now)
    }

    #[tokio::test]
    async fn urgent_calls_go_before_polls() {
        let (mut bucket, key, now) = bucket();
        let [mut first_poll, mut second_poll] = [bucket.wait(Priority::Poll), bucket.wait(Priority::Poll)];
        let mut urgent = bucket.wait(Priority::Urgent);
        let request = bucket.request(&key, now).unwrap();
        assert_eq!((request.first, request.polls, request.spare), (1, 2, 0));
        bucket.grant(2, now);
        assert!(urgent.try_recv().is_ok() && first_poll.try_recv().is_ok() && second_poll.try_recv().is_err());
        assert!(bucket.is_starved());
    }

    #[tokio::test]
    async fn slice_lasts_and_expires() {
        let (mut bucket, key, now) = bucket();
        bucket.grant(2, now);
        assert!(bucket.try_take(Priority::Poll, now));
        assert!(!bucket.try_take(Priority::Poll, now + SLICE_TTL), "expired");
        assert!(bucket.is_idle(now + SLICE_TTL));
        assert_eq!(bucket.request(&key, now), None);
    }

    #[tokio::test]
    async fn dropped_waiters_take_no_token() {
        let (mut bucket, key, now) = bucket();
        drop(bucket.wait(Priority::Normal));
        assert_eq!(bucket.request(&key, now), None);
        drop(bucket.wait(Priority::Normal));
        let mut waits = bucket.wait(Priority::Poll);
        bucket.grant(1, now);
        assert!(waits.try_recv().is_ok());
    }

    #[tokio::test]
    async fn throttling_voids_the_slice() {
        let (mut bucket, key, now) = bucket();
        bucket.grant(5, now);
        bucket.throttled();
        assert!(!bucket.try_take(Priority::Urgent, now));
        assert!(bucket.request(&key, now).unwrap().throttled);
        assert_eq!(bucket.request(&key, now), None, "reported once");
    }

    #[tokio::test]
    async fn unreachable_store_leaves_the_refill() {
        let (mut bucket, key, now) = bucket();
        let _polls: Vec<_> = (0..50).map(|_| bucket.wait(Priority::Poll)).collect();
        let request = bucket.request(&key, now).unwrap();
        assert_eq!(bucket.unshared_slice(&request, true, now), 10);
        assert_eq!(bucket.unshared_slice(&request, true, now + Duration::from_millis(500)), 5);
        bucket.shared_again();
        assert_eq!(bucket.unshared_slice(&request, false, now), 50, "no store: a full bucket");
    }
}
