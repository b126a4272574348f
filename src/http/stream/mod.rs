//! The event stream: frames, one viewer's course through them, and what a request may ask for.

pub mod accept;
pub mod ask;
pub mod frame;
pub mod viewer;
