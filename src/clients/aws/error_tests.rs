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
        (400, "LimitExceededException", ErrorKind::LimitExceeded),
        (400, "PolicyLengthExceededException", ErrorKind::LimitExceeded),
        (409, "LimitExceeded", ErrorKind::LimitExceeded),
        (404, "NoSuchEntity", ErrorKind::NotFound),
        (409, "EntityAlreadyExists", ErrorKind::Conflict),
        (400, "MalformedPolicyDocument", ErrorKind::Invalid),
    ];
    for (status, code, kind) in table {
        assert_eq!(answered(status, Some(code), None).kind, kind, "{code}");
    }
}

#[test]
fn refused_credentials_of_a_connection_are_a_kind() {
    let answered = |code: &str| {
        let meta = ErrorMetadata::builder().code(code).build();
        let raw = HttpResponse::new(400.try_into().unwrap(), "".into());
        SdkError::service_error(GetCallerIdentityError::generic(meta), raw)
    };
    for code in CREDENTIALS {
        assert_eq!(failed_for_user("ecr:PutImage", &answered(code)).kind, ErrorKind::Credentials, "{code}");
        assert_eq!(
            failed("events:DescribeEventBus", &answered(code)).kind,
            kind(Some(code), 400),
            "{code}: not a user's to renew"
        );
    }
    for code in ["AccessDenied", "AccessDeniedException", "RequestExpired", "IncompleteSignature", "OptInRequired"] {
        assert_eq!(failed_for_user("ecr:PutImage", &answered(code)).kind, ErrorKind::Denied, "{code}");
    }
}

#[test]
fn refused_role_is_a_matter_of_the_connection() {
    type Failure = SdkError<GetCallerIdentityError, HttpResponse>;
    let assumed = |code: &str| -> Failure {
        let meta = ErrorMetadata::builder().code(code).build();
        let raw = HttpResponse::new(403.try_into().unwrap(), "".into());
        let refused: SdkError<AssumeRoleError, HttpResponse> =
            SdkError::service_error(AssumeRoleError::generic(meta), raw);
        SdkError::construction_failure(CredentialsError::provider_error(refused))
    };
    let error = failed_for_user("ecr:PutImage", &assumed("AccessDenied"));
    assert_eq!((error.kind, error.call), (ErrorKind::Credentials, "sts:AssumeRole"));
    assert_eq!(
        failed_for_user("ecr:PutImage", &assumed("ExpiredToken")).kind,
        ErrorKind::Denied,
        "the controller's token"
    );
    assert_eq!(failed("sts:GetCallerIdentity", &assumed("AccessDenied")).kind, ErrorKind::Denied);
}

/// A new version of the SDK may extend its lists.
#[test]
fn retries_what_the_sdk_retries() {
    for code in aws_runtime::retries::classifiers::THROTTLING_ERRORS {
        let quota = *code == "LimitExceededException";
        assert_eq!(
            kind(Some(code), 400),
            if quota { ErrorKind::LimitExceeded } else { ErrorKind::Throttled },
            "{code}"
        );
    }
    for code in aws_runtime::retries::classifiers::TRANSIENT_ERRORS {
        assert_eq!(kind(Some(code), 400), ErrorKind::Unavailable, "{code}");
    }
}

#[test]
fn retryable_codes_are_exact() {
    for code in THROTTLING {
        assert_eq!(kind(Some(code), 400), ErrorKind::Throttled, "{code}");
        assert_eq!(kind(Some(&format!("Not{code}")), 400), ErrorKind::Invalid, "{code}");
    }
    for code in TRANSIENT {
        assert_eq!(kind(Some(code), 403), ErrorKind::Unavailable, "{code}, whatever the status");
    }
}

const CODEDEPLOY: &[(u16, &str, ErrorKind)] = &[
    (400, "DeploymentDoesNotExistException", ErrorKind::NotFound),
    (400, "DeploymentConfigDoesNotExistException", ErrorKind::NotFound),
    (400, "DeploymentTargetDoesNotExistException", ErrorKind::NotFound),
    (400, "DeploymentGroupDoesNotExistException", ErrorKind::NotFound),
    (400, "DeploymentIdRequiredException", ErrorKind::Invalid),
    (400, "InvalidDeploymentIdException", ErrorKind::Invalid),
    (400, "InvalidDeploymentTargetIdException", ErrorKind::Invalid),
    (400, "DeploymentNotStartedException", ErrorKind::Conflict),
    (400, "DeploymentAlreadyCompletedException", ErrorKind::Conflict),
    (400, "DeploymentIsNotInReadyStateException", ErrorKind::Conflict),
    (400, "InvalidDeploymentStatusException", ErrorKind::Conflict),
    (400, "InvalidDeploymentWaitTypeException", ErrorKind::Invalid),
    (400, "UnsupportedActionForDeploymentTypeException", ErrorKind::Invalid),
    (400, "ThrottlingException", ErrorKind::Throttled),
];

const ECR: &[(u16, &str, ErrorKind)] = &[
    (400, "RepositoryNotFoundException", ErrorKind::NotFound),
    (400, "ImageNotFoundException", ErrorKind::NotFound),
    (400, "LayersNotFoundException", ErrorKind::NotFound),
    (400, "RepositoryAlreadyExistsException", ErrorKind::Conflict),
    (400, "ImageAlreadyExistsException", ErrorKind::Conflict),
    (400, "ImageTagAlreadyExistsException", ErrorKind::Conflict),
    (400, "LimitExceededException", ErrorKind::LimitExceeded),
    (400, "InvalidParameterException", ErrorKind::Invalid),
    (400, "TooManyTagsException", ErrorKind::Invalid),
    (400, "KmsException", ErrorKind::Invalid),
    (500, "ServerException", ErrorKind::Unavailable),
];

const EVENTBRIDGE: &[(u16, &str, ErrorKind)] = &[
    (400, "ConcurrentModificationException", ErrorKind::Unavailable),
    (500, "InternalException", ErrorKind::Unavailable),
    (400, "ResourceNotFoundException", ErrorKind::NotFound),
    (400, "InvalidEventPatternException", ErrorKind::Invalid),
    (400, "LimitExceededException", ErrorKind::LimitExceeded),
    (400, "ManagedRuleException", ErrorKind::Invalid),
    (400, "OperationDisabledException", ErrorKind::Invalid),
    (400, "PolicyLengthExceededException", ErrorKind::LimitExceeded),
];

const STEP_FUNCTIONS: &[(u16, &str, ErrorKind)] = &[
    (400, "ExecutionDoesNotExist", ErrorKind::NotFound),
    (400, "InvalidArn", ErrorKind::Invalid),
    (400, "InvalidToken", ErrorKind::Invalid),
    (400, "KmsAccessDeniedException", ErrorKind::Denied),
    (400, "KmsInvalidStateException", ErrorKind::Conflict),
    (400, "KmsThrottlingException", ErrorKind::Throttled),
    (400, "ValidationException", ErrorKind::Invalid),
];

const SECRETS_MANAGER: &[(u16, &str, ErrorKind)] = &[
    (400, "ResourceNotFoundException", ErrorKind::NotFound),
    (400, "DecryptionFailure", ErrorKind::Invalid),
    (500, "InternalServiceError", ErrorKind::Unavailable),
    (400, "InvalidParameterException", ErrorKind::Invalid),
    (400, "InvalidRequestException", ErrorKind::Invalid),
];

const STS: &[(u16, &str, ErrorKind)] = &[
    (400, "IDPCommunicationError", ErrorKind::Unavailable),
    (400, "ExpiredTokenException", ErrorKind::Denied),
    (403, "RegionDisabledException", ErrorKind::Denied),
    (403, "IDPRejectedClaim", ErrorKind::Denied),
    (400, "InvalidIdentityToken", ErrorKind::Invalid),
    (400, "MalformedPolicyDocument", ErrorKind::Invalid),
    (400, "PackedPolicyTooLarge", ErrorKind::Invalid),
    (400, "Throttling", ErrorKind::Throttled),
];

const KMS: &[(u16, &str, ErrorKind)] = &[
    (400, "NotFoundException", ErrorKind::NotFound),
    (400, "DisabledException", ErrorKind::Invalid),
    (503, "DependencyTimeoutException", ErrorKind::Unavailable),
    (400, "KeyUnavailableException", ErrorKind::Unavailable),
    (500, "KMSInternalException", ErrorKind::Unavailable),
    (400, "KMSInvalidStateException", ErrorKind::Conflict),
    (400, "InvalidCiphertextException", ErrorKind::Invalid),
    (400, "IncorrectKeyException", ErrorKind::Invalid),
    (400, "LimitExceededException", ErrorKind::LimitExceeded),
];

/// Errors that every service may answer with.
const COMMON: &[(u16, &str, ErrorKind)] = &[
    (403, "RequestTimeTooSkewed", ErrorKind::Unavailable),
    (400, "RequestTimeout", ErrorKind::Unavailable),
    (400, "RequestTimeoutException", ErrorKind::Unavailable),
    (400, "BandwidthLimitExceeded", ErrorKind::Throttled),
    (400, "PriorRequestNotComplete", ErrorKind::Throttled),
    (400, "TransactionInProgressException", ErrorKind::Throttled),
    (503, "SlowDown", ErrorKind::Throttled),
    (503, "ServiceUnavailable", ErrorKind::Unavailable),
    (500, "InternalFailure", ErrorKind::Unavailable),
    (400, "RequestExpired", ErrorKind::Denied),
    (403, "AccessDenied", ErrorKind::Denied),
];

/// The errors that the services' models list for the operations in use, with the status that the service sends.
#[test]
fn classifies_errors_of_each_service() {
    let services = [CODEDEPLOY, ECR, EVENTBRIDGE, STEP_FUNCTIONS, SECRETS_MANAGER, STS, KMS, COMMON];
    for &(status, code, expected) in services.into_iter().flatten() {
        assert_eq!(kind(Some(code), status), expected, "{code}");
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
