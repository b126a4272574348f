//! What replicas agree on about the calls to one AWS account: slices of a shared token bucket, independent of where the bucket is stored.

use std::fmt;
use std::pin::Pin;

use super::api_quota::ApiQuota;

/// A token bucket: the account and region whose quota is used, and the call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    /// Account id of twelve digits.
    pub account: String,
    /// Region of the calls.
    pub region: String,
    /// Name of the bucket, such as `states:GetExecutionHistory`.
    pub call: String,
}

/// A request for tokens of one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRequest {
    /// Names the bucket.
    pub key: BudgetKey,
    /// Its size and refill rate.
    pub quota: ApiQuota,
    /// Calls that wait and go ahead of polls.
    pub first: u32,
    /// Polls that wait. Replicas share what is left in proportion to these.
    pub polls: u32,
    /// Tokens for the next moments, granted while the bucket is more than half full.
    pub spare: u32,
    /// AWS throttled a call since the last request: the bucket is smaller than assumed.
    pub throttled: bool,
}

/// Future of the number of tokens granted for each request, in their order.
pub type Slices<'a> = Pin<Box<dyn Future<Output = Result<Vec<u32>, String>> + Send + 'a>>;

/// The buckets that all replicas share.
pub trait BudgetStore: Send + Sync + fmt::Debug {
    /// Takes tokens from buckets, which must be distinct and in the order of their keys. The error text is for a log line.
    fn take<'a>(&'a self, requests: &'a [SliceRequest]) -> Slices<'a>;
}
