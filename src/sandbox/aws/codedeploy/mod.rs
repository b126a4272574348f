//! `CodeDeploy`: blue/green deployments of ECS services.

mod calls;
mod model;

pub use calls::call;
pub use model::{Deployment, Phase, Status};
