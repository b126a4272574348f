//! Tests of reading histories. `corpus` has histories as `GetExecutionHistory` returns them, each with what it must yield; `recorded` reads them.

mod contract;
mod corpus;
mod hostile;
mod oracle;
mod pieces;
mod recorded;
mod stored;
