//! Compares the sandbox with moto: both receive the same calls, and a client must see the same answers.
//!
//! Neither is AWS, but different people wrote them from the same documentation. Where they differ, one of them is wrong: a mistake of the sandbox is
//! fixed, and one of moto is listed beside the scenario with the correct behaviour and the address of AWS's documentation, which decides. A listed difference that no longer occurs fails the test as well,
//! so the lists stay true.
//!
//! Every field of the sandbox's answer must be in moto's; additional fields of moto are ignored, since Panda does not read them.

mod calls;
mod clients;
mod failures;
mod history;

use panda_testing::moto::compare;
use panda_testing::moto::conformity::{BothSides as Pair, Side, Who};
