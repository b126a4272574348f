//! The Helm chart: both engines, Kubernetes' schemas, hardening, goldens, invalid values. No cluster is available: the tests check what Kubernetes
//! would receive.

pub mod alerts;
mod clusters;
mod dashboards;
mod documents;
mod engines;
mod golden;
mod hardening;
mod invalid_values;
mod kubelet;
mod monitoring;
mod options;
mod readme;
mod upgrade;
mod values;

pub use panda_testing::helm::*;
use panda_testing::{root, text};
