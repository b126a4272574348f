//! The account and region whose quotas a set of clients uses.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Budgets, Priority, context};
use crate::domain::api_budget::BudgetKey;
use crate::domain::api_quota::ApiQuota;
use crate::metrics::AccountClass;

/// The call that returns the account of the credentials.
const WHO_AM_I: &str = "sts:GetCallerIdentity";

/// Time limit for learning the controller's account id.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which STS is asked again.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Future of the controller's account id; none when STS does not answer.
type AccountId = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The controller's account, whose id is asked for once.
#[derive(Clone)]
pub(in crate::clients::aws) struct ControllerAccount {
    known: Arc<OnceLock<String>>,
    /// When STS last did not answer.
    failed: Arc<Mutex<Option<Instant>>>,
    ask: Arc<dyn Fn() -> AccountId + Send + Sync>,
}

impl ControllerAccount {
    /// An account whose id `ask` returns.
    pub(in crate::clients::aws) fn new(ask: impl Fn() -> AccountId + Send + Sync + 'static) -> Self {
        Self { known: Arc::default(), failed: Arc::default(), ask: Arc::new(ask) }
    }

    /// Returns the id. STS answers without a permission, so none means that AWS is unreachable or the credentials are wrong: the call itself reports that.
    async fn id(&self) -> Option<String> {
        if let Some(known) = self.known.get() {
            return Some(known.clone());
        }
        if self.failed.lock().is_some_and(|failed| failed.elapsed() < RETRY_AFTER) {
            return None;
        }
        let Ok(Some(id)) = tokio::time::timeout(IDENTITY_TIMEOUT, (self.ask)()).await else {
            *self.failed.lock() = Some(Instant::now());
            tracing::warn!("account of the controller unknown, its calls to AWS have no budget");
            return None;
        };
        Some(self.known.get_or_init(|| id).clone())
    }
}

#[derive(Clone)]
enum Account {
    /// The controller's, whose id STS knows.
    Controller(ControllerAccount),
    /// A user's account, by its id.
    User(Arc<str>),
    /// That of credentials that were never used: a connection that is being made.
    Unknown,
}

/// The account and region of a client's calls. Cheap to clone.
#[derive(Clone)]
pub(in crate::clients::aws) struct Scope {
    budgets: Budgets,
    account: Account,
    region: Arc<str>,
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Scope {
    /// The controller's account. Its id is asked for before the first call that has a quota.
    pub(in crate::clients::aws) fn controller(budgets: &Budgets, controller: ControllerAccount, region: &str) -> Self {
        Self { budgets: budgets.clone(), account: Account::Controller(controller), region: region.into() }
    }

    /// A user's account; none while it is unknown, and then nothing limits the calls.
    pub(in crate::clients::aws) fn user(budgets: &Budgets, account: Option<&str>, region: &str) -> Self {
        let account = account.map_or(Account::Unknown, |account| Account::User(account.into()));
        Self { budgets: budgets.clone(), account, region: region.into() }
    }

    /// Returns the class of the account in metrics.
    pub(in crate::clients::aws) fn class(&self) -> AccountClass {
        match self.account {
            Account::Controller(_) => AccountClass::Controller,
            Account::User(_) | Account::Unknown => AccountClass::User,
        }
    }

    /// Waits for a token of `call` with this priority.
    pub(in crate::clients::aws) async fn acquire(&self, call: &str, priority: Priority) {
        let Some(bucket) = self.budgets.inner.quotas.bucket(call, &self.region) else { return };
        // Learning the account takes this call itself, which has no budget until then.
        let account = if call == WHO_AM_I { self.known_account() } else { self.account_id().await };
        let Some(account) = account else { return };
        let key = BudgetKey { account, region: self.region.to_string(), call: bucket.name };
        let (calls, class, began) = (&self.budgets.inner.calls, self.class(), Instant::now());
        let _waiting = calls.waits_for_budget(call, class);
        context::counted(self.budgets.acquire(key, bucket.quota, priority)).await;
        calls.waited_for_budget(call, class, began.elapsed());
    }

    /// Notes that AWS throttled `call`.
    pub(in crate::clients::aws) fn throttled(&self, call: &str) {
        self.budgets.inner.calls.budget_exceeded(call, self.class());
        if let Some((key, quota)) = self.known_key(call) {
            self.budgets.throttled(key, quota);
        }
    }

    fn known_key(&self, call: &str) -> Option<(BudgetKey, ApiQuota)> {
        let bucket = self.budgets.inner.quotas.bucket(call, &self.region)?;
        let account = self.known_account()?;
        Some((BudgetKey { account, region: self.region.to_string(), call: bucket.name }, bucket.quota))
    }

    /// Returns the account's id without asking for it.
    fn known_account(&self) -> Option<String> {
        match &self.account {
            Account::Controller(controller) => controller.known.get().cloned(),
            Account::User(account) => Some(account.to_string()),
            Account::Unknown => None,
        }
    }

    /// Returns the account's id; none while it is unknown.
    async fn account_id(&self) -> Option<String> {
        match &self.account {
            Account::User(account) => Some(account.to_string()),
            Account::Unknown => None,
            Account::Controller(controller) => controller.id().await,
        }
    }
}
