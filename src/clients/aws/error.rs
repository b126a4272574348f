//! Every AWS SDK error, of every service, becomes a [`ClientError`] here and nowhere else.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::assume_role::AssumeRoleError,
};

use crate::clients::{ClientError, ErrorKind, error::chain};

/// What a failed `call` means: by the service's error code first, by the HTTP status when the code says nothing.
pub(super) fn failed<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let service = answer.err();
            let kind = kind(service.code(), answer.raw().status().as_u16());
            ClientError::new(kind, call, words(service.code(), service.message()))
        }
        // The answer is not in the protocol: a proxy's page, or a reply cut off.
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let kind = if status < 300 { ErrorKind::Unavailable } else { kind(None, status) };
            ClientError::new(kind, call, format!("unreadable answer with status {status}: {}", chain(error)))
        }
        SdkError::TimeoutError(_) => ClientError::new(ErrorKind::Unavailable, call, "no answer in time"),
        _ => unsent(call, error),
    }
}

/// A request that the SDK could not even make of our values.
pub(super) fn unbuildable(call: &'static str, error: &BuildError) -> ClientError {
    ClientError::new(ErrorKind::Invalid, call, chain(error))
}

/// An answer without a part that the service's documentation promises.
pub(super) fn incomplete(call: &'static str, missing: &str) -> ClientError {
    ClientError::new(ErrorKind::Unavailable, call, format!("the answer has no {missing}"))
}

/// The request never reached the service: no connection, or no credentials to sign it with.
fn unsent<E>(call: &'static str, error: &SdkError<E, HttpResponse>) -> ClientError
where
    E: Error + Send + Sync + 'static,
{
    let mut kind = match error {
        SdkError::ConstructionFailure(_) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        // Assuming the user's role is a call of its own, made while signing; its refusal is what the user must hear of.
        if let Some(SdkError::ServiceError(answer)) = inner.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>() {
            let service = answer.err();
            let kind = self::kind(service.code(), answer.raw().status().as_u16());
            return ClientError::new(kind, "sts:AssumeRole", words(service.code(), service.message()));
        }
        // No place of the default chain has credentials, or one has wrong ones: waiting does not help.
        if let Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) =
            inner.downcast_ref()
        {
            kind = ErrorKind::Denied;
        }
        cause = inner.source();
    }
    ClientError::new(kind, call, chain(error))
}

fn words(code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "the service gave no reason".to_owned(),
    }
}

/// The kind of an error code, whatever service it comes from; the status decides what codes do not.
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
        // CodeDeploy's words for "not in this state".
        "AlreadyCompleted",
        "IsNotInReadyState",
        "DeploymentNotStarted",
        "InvalidDeploymentStatus",
        "Conflict",
    ];
    // EventBridge's word for two writers at once: the same call may pass a moment later.
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
        // No AWS service answers like this: something else listens at the endpoint.
        ErrorKind::Invalid
    } else {
        match ErrorKind::of_status(status) {
            // A code that we do not know, on a status that many services use for every error of the caller.
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
    fn the_services_codes_decide_the_kind() {
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
    fn the_status_decides_when_there_is_no_code() {
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
    fn the_message_is_the_services_own_with_its_code() {
        let error = answered(400, Some("InvalidParameter"), Some("Name is too long"));
        assert_eq!(error.to_string(), "sts:GetCallerIdentity: Name is too long (InvalidParameter)");
    }

    #[test]
    fn silence_and_garbage_are_unavailable_and_a_bad_request_is_invalid() {
        type Failure = SdkError<GetCallerIdentityError, HttpResponse>;
        assert_eq!(failed("x", &Failure::timeout_error("slow")).kind, ErrorKind::Unavailable);
        assert_eq!(failed("x", &Failure::construction_failure("no region")).kind, ErrorKind::Invalid);
        let page = HttpResponse::new(200.try_into().unwrap(), "<html>".into());
        assert_eq!(failed("x", &Failure::response_error("not xml", page)).kind, ErrorKind::Unavailable);
    }
}
