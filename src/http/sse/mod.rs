//! `text/event-stream` responses: the hub reads new events once per replica, a stream sends them to one client.

pub mod error;
mod feed_event_id;
pub(crate) mod filter;
pub(crate) mod frame;
pub mod hub;
pub mod stream;
