//! moto, an independent implementation of AWS, with the parts that it lacks.

pub mod compare;
pub mod conformity;
pub mod pipeline;
pub mod proxy;
pub mod server;
