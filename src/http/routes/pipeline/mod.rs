//! `/api/v1/pipeline…`: the pipeline that AWS runs between the push and the switch.

pub mod check;
