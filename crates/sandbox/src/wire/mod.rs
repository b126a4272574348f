//! The wire protocols: decodes HTTP requests into calls, and encodes the responses.
//!
//! The SDK versions in use send AWS JSON 1.1 (`EventBridge`, ECR, Secrets Manager, `CodeDeploy`), AWS JSON 1.0 (Step Functions) and
//! Query with XML responses (STS, IAM). The prefix of `X-Amz-Target`, or a form body, identifies the service.

mod cbor;
mod reply;
mod request;
mod server;

pub use server::serve;
