//! The event stream: frames, one viewer's course through them, and what a request may ask for.

pub mod accept;
pub mod all;
pub mod answer;
pub mod ask;
pub mod filter;
pub mod frame;
pub mod held;
pub mod one;
pub mod seats;
pub mod viewer;
