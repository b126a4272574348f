//! Commands that run everything on this machine, with a sandbox in place of AWS and GitHub. The image is built without them.

mod addresses;
pub mod demo;
mod example;
mod orphans;
pub mod parts;
mod setup;
mod stack;
pub mod up;
