//! Event streams (server-sent events): parsing of the request, and the state of each open stream.
//!
//! A handler takes a [`permits::StreamPermit`], builds an event source ([`deployment_stream`], [`feed_stream`] or [`pending_stream`]) and
//! hands both to a [`subscriber::Subscriber`], which adds comments, keep-alives and the end of the stream.

pub(crate) mod accept;
pub(crate) mod deployment_stream;
pub(crate) mod feed_stream;
pub(crate) mod pending_stream;
pub(crate) mod permits;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod subscriber;
