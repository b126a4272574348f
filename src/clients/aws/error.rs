//! Converts the AWS SDK errors of all services to [`ClientError`]; no other module does this.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::assume_role::AssumeRoleError,
};

use super::budget::BudgetExhausted;
use crate::clients::{ClientError, ErrorKind};
use crate::domain::text::chain;

/// Owner of the credentials that sign a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signer {
    /// The operator: nothing that a user can renew.
    Controller,
    /// A user, through the credentials of a connection.
    Connection,
}

/// Converts a failed `call`: the service's error code decides the kind, and the HTTP status where the code does not.
pub(super) fn failed<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    convert(Signer::Controller, call, error)
}

/// The same for a call that a connection's credentials sign: [`ErrorKind::Credentials`] if the service does not accept them.
pub(super) fn failed_for_user<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    convert(Signer::Connection, call, error)
}

fn convert<E>(signer: Signer, call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let service = answer.err();
            let code = service.code();
            let refused = signer == Signer::Connection && code.is_some_and(|code| CREDENTIALS.contains(&code));
            let kind = if refused { ErrorKind::Credentials } else { kind(code, answer.raw().status().as_u16()) };
            ClientError::new(kind, call, message_with_code(service.code(), service.message()))
        }
        // The response does not follow the protocol: a proxy's page, or a truncated reply.
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let kind = if status < 300 { ErrorKind::Unavailable } else { kind(None, status) };
            ClientError::new(kind, call, format!("unreadable response with status {status}: {}", chain(error)))
        }
        SdkError::TimeoutError(_) => ClientError::new(ErrorKind::Unavailable, call, "no answer in time"),
        _ => dispatch_error(signer, call, error),
    }
}

/// Converts the error for values from which the SDK cannot build a request.
pub(super) fn build_error(call: &'static str, error: &BuildError) -> ClientError {
    ClientError::new(ErrorKind::Invalid, call, chain(error))
}

/// Creates the error for a response that lacks a documented part.
pub(super) fn incomplete(call: &'static str, missing: &str) -> ClientError {
    ClientError::new(ErrorKind::Unavailable, call, format!("the response has no {missing}"))
}

/// Converts an error of a request that never reached the service: no connection, no credentials to sign with, or no token of the account's budget.
fn dispatch_error<E>(signer: Signer, call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: Error + Send + Sync + 'static,
{
    let mut kind = match error {
        SdkError::ConstructionFailure(_) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        // Assuming the user's role is a separate call, made while signing; its refusal is the cause that the user must see.
        if let Some(SdkError::ServiceError(answer)) = inner.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            let service = answer.err();
            // The controller signs this call, so all other codes are about its credentials.
            let revoked = signer == Signer::Connection && service.code() == Some("AccessDenied");
            let status = answer.raw().status().as_u16();
            let kind = if revoked { ErrorKind::Credentials } else { self::kind(service.code(), status) };
            return ClientError::new(kind, "sts:AssumeRole", message_with_code(service.code(), service.message()));
        }
        if let Some(exhausted) = inner.downcast_ref::<BudgetExhausted>() {
            return ClientError::new(ErrorKind::Throttled, call, exhausted);
        }
        // The default chain found no credentials, or invalid ones: waiting does not help.
        if let Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) =
            inner.downcast_ref()
        {
            kind = ErrorKind::Denied;
        }
        cause = inner.source();
    }
    ClientError::new(kind, call, chain(error))
}

fn message_with_code(code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "the service gave no reason".to_owned(),
    }
}

/// Classifies an error code, regardless of the service; the status decides where the code does not.
pub(super) fn kind(code: Option<&str>, status: u16) -> ErrorKind {
    let code = code.unwrap_or_default();
    if is_throttling(code) || status == 429 {
        ErrorKind::Throttled
    } else if TRANSIENT.contains(&code) {
        ErrorKind::Unavailable
    } else if LIMITS.contains(&code) {
        ErrorKind::LimitExceeded
    } else if contains(code, &DENIED) {
        ErrorKind::Denied
    } else if contains(code, &NOT_FOUND) {
        ErrorKind::NotFound
    } else if contains(code, &CONFLICT) {
        ErrorKind::Conflict
    } else if status == 404 && code.is_empty() {
        // No AWS service answers with such a status: something else listens at the endpoint.
        ErrorKind::Invalid
    } else {
        match ErrorKind::of_status(status) {
            // An unknown code, with a status that many services use for every error of the caller.
            ErrorKind::NotFound | ErrorKind::Conflict => ErrorKind::Invalid,
            other => other,
        }
    }
}

/// Codes of throttling: the SDK's list (`THROTTLING_ERRORS` of `aws-runtime`), and the spellings of single services.
///
/// `LimitExceededException` of the SDK's list is missing on purpose: EventBridge, ECR and KMS use it for quotas of resources (rules, repositories),
/// which waiting does not raise, and Panda waits for a throttled call for up to an hour.
const THROTTLING: [&str; 14] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
    // Step Functions, when KMS throttles it.
    "KmsThrottlingException",
];

/// Codes of errors that pass by themselves: `TRANSIENT_ERRORS` of `aws-runtime`, what the services' models mark as retryable, and errors of a
/// service's own dependencies.
const TRANSIENT: [&str; 21] = [
    "RequestTimeout",
    "RequestTimeoutException",
    // STS: the identity provider did not answer. The model marks it as retryable; the query protocol drops the suffix.
    "IDPCommunicationError",
    "IDPCommunicationErrorException",
    // The clocks differ: the SDK corrects its own from the response, so that the next call is signed with the right time.
    "RequestTimeTooSkewed",
    "RequestInTheFuture",
    // EventBridge, for two concurrent writers: the same call may succeed a moment later.
    "ConcurrentModificationException",
    "InternalException",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    // Secrets Manager.
    "InternalServiceError",
    "InternalServiceErrorException",
    // ECR.
    "ServerException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Unavailable",
    // KMS.
    "DependencyTimeoutException",
    "KMSInternalException",
    "KmsInternalException",
    "KeyUnavailableException",
];

/// Codes with which AWS refuses credentials as such, whatever the call. `AccessDenied` is none of them, except for AssumeRole: the role or its trust in the
/// controller is gone. Revoking a role's sessions denies each call by a policy, which looks like a missing permission.
const CREDENTIALS: [&str; 7] = [
    // The session token has expired.
    "ExpiredToken",
    "ExpiredTokenException",
    // The access key, or the session, does not exist (any more) or is not active: query protocol, JSON protocol, S3's spelling.
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    // The secret does not belong to the access key: query protocol, JSON protocol.
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
];

/// Codes of quotas of resources: EventBridge's rules and policy size, ECR's repositories; IAM, in the Query protocol, drops the suffix.
const LIMITS: [&str; 3] = ["LimitExceededException", "PolicyLengthExceededException", "LimitExceeded"];

const DENIED: [&str; 11] = [
    "AccessDenied",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "ExpiredToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "InvalidSignature",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
];

const NOT_FOUND: [&str; 3] = ["NotFound", "DoesNotExist", "NoSuchEntity"];

const CONFLICT: [&str; 7] = [
    "AlreadyExists",
    "InvalidState",
    // CodeDeploy's codes for "not in this state".
    "AlreadyCompleted",
    "IsNotInReadyState",
    "DeploymentNotStarted",
    "InvalidDeploymentStatus",
    "Conflict",
];

/// Reports whether `code` means that the caller sends too many requests.
fn is_throttling(code: &str) -> bool {
    THROTTLING.contains(&code)
}

/// Reports whether `code` contains one of the `words`: services add prefixes and suffixes to these.
fn contains(code: &str, words: &[&str]) -> bool {
    words.iter().any(|word| code.contains(word))
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
