//! The wire: HTTP in, the protocol that each service speaks, HTTP out.
//!
//! The SDK versions in use send AWS JSON 1.1 (`EventBridge`, ECR, Secrets Manager, `CodeDeploy`), AWS JSON 1.0 (Step Functions) and
//! Query with XML answers (STS). The service is known by the prefix of `X-Amz-Target`, or by a form body.

mod reply;
mod request;
mod server;

pub use request::Service;
pub use server::serve;
