//! Attributes a failed build to its cause: the source, a registry, or the builder.
//!
//! The failed step decides, together with the process's exit code if the builder reports one. Errors of registries arrive as text only, which merely
//! distinguishes them; an error that is not known to be final counts as temporary.

use crate::clients::build::BuildFault;

/// Texts with which registries refuse a login.
const DENIED: [&str; 5] = ["unauthorized", "denied", "no basic auth credentials", "authorization failed", "forbidden"];

/// Exit code of a killed process, usually for exceeding its memory.
const KILLED_EXIT_CODE: i64 = 137;

/// Returns the cause of a failure in `step` (its name or instruction; `None` before any step), whose process ended with `exit_code`.
pub fn of(step: Option<&str>, exit_code: Option<i64>, message: &str) -> BuildFault {
    let kind = step.map_or(Kind::Other, kind);
    let lower = match kind {
        Kind::Run => without_command(message),
        Kind::Image | Kind::Push | Kind::Other => message,
    }
    .to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if disk_is_full(&lower) {
        return BuildFault::DiskFull;
    }
    match kind {
        Kind::Run
            if exit_code == Some(KILLED_EXIT_CODE)
                || says(&["exit code: 137", "non-zero code: 137", "cannot allocate memory"]) =>
        {
            BuildFault::OutOfMemory
        }
        Kind::Push if says(&["expired"]) => BuildFault::RegistryUnavailable,
        Kind::Push if says(&DENIED) => BuildFault::PushDenied,
        Kind::Image if says(&["invalid reference format", "failed to parse", "must be lowercase"]) => {
            BuildFault::Source
        }
        Kind::Image if says(&["toomanyrequests", "too many requests"]) => BuildFault::RegistryUnavailable,
        Kind::Image if says(&DENIED) => BuildFault::BaseImageDenied,
        Kind::Image
            if says(&[
                "not found",
                "manifest unknown",
                "name unknown",
                "does not exist",
                "no match for platform",
                "no matching manifest",
            ]) =>
        {
            BuildFault::BaseImageNotFound
        }
        Kind::Push | Kind::Image => BuildFault::RegistryUnavailable,
        Kind::Run | Kind::Other => BuildFault::Source,
    }
}

/// Reports whether the builder's disk was full.
pub fn disk_is_full(message: &str) -> bool {
    ["no space left on device", "disk quota exceeded"].iter().any(|words| message.contains(words))
}

/// Removes the command from a builder's error message: its author chose the text, which may contain anything.
fn without_command(message: &str) -> &str {
    let ends = [" did not complete successfully: ", "]: ", "' returned a "];
    ends.iter().find_map(|end| message.rsplit_once(end)).map_or(message, |(_, reason)| reason)
}

#[derive(Clone, Copy)]
enum Kind {
    /// A command from the Dockerfile.
    Run,
    /// Resolving or reading an image in a registry.
    Image,
    /// Pushing the result to its registry.
    Push,
    Other,
}

fn kind(step: &str) -> Kind {
    // Turns `[build 2/5] RUN …` into `RUN …`.
    let instruction = step.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(step, |(_, rest)| rest);
    let is = |names: &[&str]| {
        names.iter().any(|name| instruction.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    // The classic builder reports the instruction alone.
    let copies_from = is(&["COPY "]) && instruction.contains("--from=") && !step.starts_with('[');
    if is(&["exporting to image", "exporting cache", "pushing "]) {
        Kind::Push
    } else if is(&["RUN ", "ONBUILD RUN "]) {
        Kind::Run
    } else if copies_from
        || is(&["FROM ", "load metadata for ", "resolve image config for ", "docker-image://", "importing cache"])
    {
        Kind::Image
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BuildFault::{
        BaseImageDenied, BaseImageNotFound, DiskFull, OutOfMemory, PushDenied, RegistryUnavailable, Source,
    };

    const METADATA: Option<&str> = Some("[internal] load metadata for 127.0.0.1:5555/nope/x:1");

    /// Step, exit code and message as recorded from BuildKit and the classic builder of Engine 20.10.24 and 26.1.5.
    const RECORDED: &[(Option<&str>, Option<i64>, &str, BuildFault)] = &[
        (
            Some("[2/2] RUN exit 3"),
            Some(3),
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
            Source,
        ),
        (Some("[2/2] RUN exit 3"), None, "executor failed running [/bin/sh -c exit 3]: exit code: 3", Source),
        (
            Some("[2/2] RUN x"),
            None,
            "executor failed running [/bin/sh -c echo no space left on device]: exit code: 1",
            Source,
        ),
        (
            Some("RUN x"),
            None,
            "The command '/bin/sh -c echo cannot allocate memory' returned a non-zero code: 1",
            Source,
        ),
        (
            Some("[2/2] RUN x"),
            Some(137),
            "process \"/bin/sh -c x\" did not complete successfully: exit code: 137",
            OutOfMemory,
        ),
        (
            Some("[2/2] RUN x"),
            None,
            "process \"/bin/sh -c x\" did not complete successfully: cannot allocate memory",
            OutOfMemory,
        ),
        (Some("RUN x"), None, "The command '/bin/sh -c x' returned a non-zero code: 137", OutOfMemory),
        (Some("[2/2] COPY nothere /x"), None, "failed to compute cache key: \"/nothere\" not found: not found", Source),
        (None, None, "dockerfile parse error on line 2: unknown instruction: RUNX (did you mean RUN?)", Source),
        (
            METADATA,
            None,
            "127.0.0.1:5555/nope/x:1: failed to resolve source metadata for 127.0.0.1:5555/nope/x:1: 127.0.0.1:5555/nope/x:1: not found",
            BaseImageNotFound,
        ),
        (
            METADATA,
            None,
            "failed to do request: Head \"https://127.0.0.1:1/v2/x/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
            RegistryUnavailable,
        ),
        (
            METADATA,
            None,
            "pulling from host 127.0.0.1:7001 failed with status code [manifests 1]: 503 Service Unavailable",
            RegistryUnavailable,
        ),
        (
            METADATA,
            None,
            "pulling from host 127.0.0.1:7002 failed with status code [manifests 1]: 429 Too Many Requests",
            RegistryUnavailable,
        ),
        (
            METADATA,
            None,
            "pulling from host 127.0.0.1:7005 failed with status code [manifests 1]: 401 Unauthorized",
            BaseImageDenied,
        ),
        (
            METADATA,
            None,
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
            BaseImageDenied,
        ),
        (
            Some("FROM 127.0.0.1:1/x:1"),
            None,
            "failed to load cache key: failed to do request: connection refused",
            RegistryUnavailable,
        ),
        (Some("FROM 127.0.0.1:1/x:1"), None, "toomanyrequests: slow down", RegistryUnavailable),
        (Some("FROM 127.0.0.1:1/x:1"), None, "Get \"http://127.0.0.1:7004/v2/\": EOF", RegistryUnavailable),
        (
            Some("COPY --from=127.0.0.1:1/x:1 /a /a"),
            None,
            "invalid from flag value 127.0.0.1:1/x:1: Get \"http://127.0.0.1:1/v2/\": connection refused",
            RegistryUnavailable,
        ),
        (Some("[2/2] COPY --from=build /a /a"), None, "\"/a\" not found: not found", Source),
        (
            Some("resolve image config for docker-image://127.0.0.1:1/front:1"),
            None,
            "dial tcp: lookup x: no such host",
            RegistryUnavailable,
        ),
        (
            Some("[2/2] COPY . /"),
            None,
            "failed to copy files: copy file range failed: no space left on device",
            DiskFull,
        ),
        (
            Some("exporting to image"),
            None,
            "failed to push: unexpected status: 503 Service Unavailable",
            RegistryUnavailable,
        ),
        (
            Some("exporting to image"),
            None,
            "failed to authorize: failed to fetch anonymous token: 401 Unauthorized",
            PushDenied,
        ),
        (Some("exporting to image"), None, "403 Forbidden: Your authorization token has expired", RegistryUnavailable),
    ];

    #[test]
    fn classifies_recorded_messages() {
        for (step, exit_code, message, fault) in RECORDED {
            assert_eq!(of(*step, *exit_code, message), *fault, "{step:?}: {message}");
        }
    }
}
