//! The outbox: which process delivers to which receiver, how far each has received the events, and deliveries that failed.
//!
//! A write of a process that no longer holds a receiver changes nothing: each names the holder and the version that it read.

mod commit;
mod deliveries;
mod senders;

pub use commit::{DeliveryChange, OutboxCommit, ShownDeployment};
pub use deliveries::{DeliveryState, DueDelivery};
pub use senders::{ClaimedCursor, OutboxReceiver, OutboxView};
