//! Limits the concurrent database work of each caller, so that callers do not wait for each other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::sleep;

use crate::db::Class;
use crate::db::caller_share::{self, CallerPermit, CallerShare, CallerShares};
use crate::domain::connection_class::CallerUsage;
use crate::domain::principal::{AuthMethod, Caller, Principal};
use crate::http::middleware::error::AdmissionError;
use crate::http::middleware::real_ip::client_key;
use crate::metrics::ReconcileMetrics;

/// Time that a report waits for the caller's other reports.
const MAX_WAIT: Duration = Duration::from_millis(400);

/// Lateness of the reconciler up to which nothing yields to it. Undisturbed, 99 of 100 iterations start within it.
const ON_TIME: Duration = Duration::from_millis(15);

/// Longest pause for the reconciler, so that a caller with a thousand streams still reads a page for each every ten seconds.
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// Runs a request so that its statements count towards the caller's share, which authentication declares.
pub async fn with_share(request: Request, next: Next) -> Response {
    caller_share::with_share(next.run(request)).await
}

/// Concurrency limit per caller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CallerLimit {
    shares: CallerShares,
    /// The reconciler that this work yields to.
    reconciler: Option<ReconcileMetrics>,
}

impl CallerLimit {
    /// Allows each caller `limit` pieces of work of `class` at a time.
    pub fn new(class: Class, limit: usize) -> Self {
        Self { shares: CallerShares::new(class, limit), reconciler: None }
    }

    /// Makes the shares pause before their work while the reconciler is late.
    #[must_use]
    pub fn yielding_to(mut self, reconciler: ReconcileMetrics) -> Self {
        self.reconciler = Some(reconciler);
        self
    }

    /// Waits until `caller` has fewer than the limit of reports running.
    ///
    /// # Errors
    /// [`AdmissionError::TooManyOfCaller`] after 400 ms.
    pub async fn acquire(&self, caller: &Caller) -> Result<CallerPermit, AdmissionError> {
        let share = self.shares.share_of(&key(&caller.principal, caller.address));
        let permit = share.acquire_within(MAX_WAIT, MAX_WAIT).await;
        permit.ok_or(AdmissionError::TooManyOfCaller { limit: self.shares.limit() })
    }

    /// Counts the statements of the request that this task handles towards the share of its caller.
    pub fn enter(&self, principal: &Principal, address: IpAddr) {
        caller_share::enter(self.shares.share_of(&key(principal, address)));
    }

    /// Runs work of a caller in another task than that of the request, so that its statements count towards the caller's share.
    pub async fn run<F: Future>(&self, caller: &Caller, work: F) -> F::Output {
        caller_share::with_share(async {
            self.enter(&caller.principal, caller.address);
            work.await
        })
        .await
    }

    /// Returns the share of a caller, for work that acquires it repeatedly.
    pub fn share_of(&self, principal: &Principal, address: IpAddr) -> YieldingShare {
        YieldingShare { share: self.shares.share_of(&key(principal, address)), reconciler: self.reconciler.clone() }
    }

    /// Returns the numbers of waiting and rejected work, for metrics.
    pub fn usage(&self) -> CallerUsage {
        self.shares.usage()
    }
}

/// Identifies a caller: names of tokens are not unique, and an issuer's subject may equal one. Without authentication, callers are distinguished by
/// their address, cut as for rate limits.
fn key(principal: &Principal, address: IpAddr) -> String {
    match &principal.kind {
        AuthMethod::Nobody => client_key(address).to_string(),
        AuthMethod::Token(id) => format!("token {id}"),
        kind => format!("{} {}", kind.as_str(), principal.subject),
    }
}

/// The share of one caller in work that yields to the reconciler.
#[derive(Debug)]
pub struct YieldingShare {
    share: Arc<CallerShare>,
    reconciler: Option<ReconcileMetrics>,
}

impl YieldingShare {
    /// Waits, in the order of arrival, until the caller has fewer permits than its limit, and then while the reconciler is late.
    pub async fn acquire(&self) -> CallerPermit {
        let permit = Arc::clone(&self.share).acquire().await;
        let late = self.reconciler.as_ref().map(ReconcileMetrics::recent_lateness).unwrap_or_default();
        // With the permit held, so that the caller's other work pauses as well.
        if late > ON_TIME {
            sleep(late.min(MAX_PAUSE)).await;
        }
        permit
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn callers_with_equal_names_are_distinguished() {
        let by = |kind| Principal { subject: "ci".to_owned(), kind, ..Principal::without_authentication() };
        let kinds = [AuthMethod::Token("tok_1".to_owned()), AuthMethod::Token("tok_2".to_owned()), AuthMethod::Oidc];
        let address = |last| IpAddr::from([127, 0, 0, last]);
        let keys: BTreeSet<String> = kinds.into_iter().map(|kind| key(&by(kind), address(1))).collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        assert_eq!(key(&by(AuthMethod::Oidc), address(1)), key(&by(AuthMethod::Oidc), address(2)));
    }

    #[tokio::test]
    async fn unauthenticated_callers_are_distinguished_by_address() {
        let limit = CallerLimit::new(Class::Replay, 1);
        let share = |last| limit.share_of(&Principal::without_authentication(), IpAddr::from([127, 0, 0, last]));
        let _first = share(1).acquire().await;
        assert!(share(1).acquire().now_or_never().is_none());
        assert!(share(2).acquire().now_or_never().is_some());
    }
}
