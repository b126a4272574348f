//! Reads a Step Functions history: which events and facts it yields, and whether the deployment is ready, has succeeded or has failed. Pure, so
//! that tests cover every shape of history. docs/aws.md describes the rules.
//!
//! A history is read in pieces, one per poll. What a later piece needs of an earlier one is [`Memory`], which is stored with the step; reading in
//! any pieces therefore gives the events and facts of reading the whole.

mod contract;
mod event;
mod event_type;
mod memory;
mod output;
mod raw;
mod reader;
mod replay;
mod status;
mod values;
mod walk;

pub use contract::{Checked, ClauseFinding, ClauseState, LatestArn, check_contract};
pub use event::{ExitOutput, HistoryEvent, HistoryKind};
pub use event_type::{EventClass, classify};
pub use memory::Memory;
pub use raw::{HistoryPiece, RawEvent};
pub use reader::{Reader, Reading, Verdict};
pub use replay::{AttemptEnd, Finding, Published, READER_CODES, StoredPiece, replay};

#[cfg(test)]
mod tests;
