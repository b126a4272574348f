//! Converts the AWS SDK errors of all services to [`ClientError`]; no other module does this.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::assume_role::AssumeRoleError,
};

use crate::clients::{ClientError, ErrorKind};
use crate::domain::text::chain;

/// Converts a failed `call`: the service's error code decides the kind, and the HTTP status where the code does not.
pub(super) fn failed<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let service = answer.err();
            let kind = kind(service.code(), answer.raw().status().as_u16());
            ClientError::new(kind, call, message_with_code(service.code(), service.message()))
        }
        // The response does not follow the protocol: a proxy's page, or a truncated reply.
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let kind = if status < 300 { ErrorKind::Unavailable } else { kind(None, status) };
            ClientError::new(kind, call, format!("unreadable response with status {status}: {}", chain(error)))
        }
        SdkError::TimeoutError(_) => ClientError::new(ErrorKind::Unavailable, call, "no answer in time"),
        _ => dispatch_error(call, error),
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

/// Converts an error of a request that never reached the service: no connection, or no credentials to sign with.
fn dispatch_error<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
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
            let kind = self::kind(service.code(), answer.raw().status().as_u16());
            return ClientError::new(kind, "sts:AssumeRole", message_with_code(service.code(), service.message()));
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
    const THROTTLED: [&str; 4] = ["Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown"];
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
    const NOT_FOUND: [&str; 2] = ["NotFound", "DoesNotExist"];
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
    // EventBridge's code for two concurrent writers: the same call may succeed a moment later.
    const UNAVAILABLE: [&str; 4] =
        ["ConcurrentModification", "InternalFailure", "InternalServer", "ServiceUnavailable"];

    let code = code.unwrap_or_default();
    let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if is(&THROTTLED) || status == 429 {
        ErrorKind::Throttled
    } else if is(&DENIED) {
        ErrorKind::Denied
    } else if is(&NOT_FOUND) {
        ErrorKind::NotFound
    } else if is(&CONFLICT) {
        ErrorKind::Conflict
    } else if is(&UNAVAILABLE) {
        ErrorKind::Unavailable
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

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sts::{
        config::http::HttpResponse, error::ErrorMetadata, operation::get_caller_identity::GetCallerIdentityError,
    };

    fn answered(status: u16, code: Option<&str>, message: Option<&str>) -> ClientError {
        let mut meta = ErrorMetadata::builder();
        if let Some(code) = code {
            meta = meta.code(code);
        }
        if let Some(message) = message {
            meta = meta.message(message);
        }
        let raw = HttpResponse::new(status.try_into().unwrap(), "".into());
        failed("sts:GetCallerIdentity", &SdkError::service_error(GetCallerIdentityError::generic(meta.build()), raw))
    }

    #[test]
    fn error_code_decides_kind() {
        let table = [
            (400, "ResourceNotFoundException", ErrorKind::NotFound),
            (400, "RepositoryNotFoundException", ErrorKind::NotFound),
            (400, "ExecutionDoesNotExist", ErrorKind::NotFound),
            (400, "DeploymentDoesNotExistException", ErrorKind::NotFound),
            (400, "RepositoryAlreadyExistsException", ErrorKind::Conflict),
            (400, "DeploymentIsNotInReadyStateException", ErrorKind::Conflict),
            (400, "DeploymentAlreadyCompletedException", ErrorKind::Conflict),
            (400, "ThrottlingException", ErrorKind::Throttled),
            (400, "KmsThrottlingException", ErrorKind::Throttled),
            (400, "TooManyRequestsException", ErrorKind::Throttled),
            (503, "RequestLimitExceeded", ErrorKind::Throttled),
            (400, "AccessDeniedException", ErrorKind::Denied),
            (400, "UnrecognizedClientException", ErrorKind::Denied),
            (403, "InvalidClientTokenId", ErrorKind::Denied),
            (400, "ExpiredTokenException", ErrorKind::Denied),
            (403, "SignatureDoesNotMatch", ErrorKind::Denied),
            (400, "ConcurrentModificationException", ErrorKind::Unavailable),
            (500, "ServerException", ErrorKind::Unavailable),
            (400, "InvalidEventPatternException", ErrorKind::Invalid),
            (400, "LimitExceededException", ErrorKind::Invalid),
        ];
        for (status, code, kind) in table {
            assert_eq!(answered(status, Some(code), None).kind, kind, "{code}");
        }
    }

    #[test]
    fn status_decides_kind_without_code() {
        for (status, kind) in [
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
            (429, ErrorKind::Throttled),
            (502, ErrorKind::Unavailable),
            (404, ErrorKind::Invalid),
            (400, ErrorKind::Invalid),
        ] {
            assert_eq!(answered(status, None, None).kind, kind, "{status}");
        }
    }

    #[test]
    fn message_ends_with_code() {
        let error = answered(400, Some("InvalidParameter"), Some("Name is too long"));
        assert_eq!(error.to_string(), "sts:GetCallerIdentity: Name is too long (InvalidParameter)");
    }

    #[test]
    fn classifies_failures_without_response() {
        type Failure = SdkError<GetCallerIdentityError, HttpResponse>;
        assert_eq!(failed("x", &Failure::timeout_error("slow")).kind, ErrorKind::Unavailable);
        assert_eq!(failed("x", &Failure::construction_failure("no region")).kind, ErrorKind::Invalid);
        let page = HttpResponse::new(200.try_into().unwrap(), "<html>".into());
        assert_eq!(failed("x", &Failure::response_error("not xml", page)).kind, ErrorKind::Unavailable);
    }
}
