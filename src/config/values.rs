//! Parsers of option values. Each error states the accepted values.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::domain::bus_policy::BusPolicy;
use crate::domain::postgres_url::PostgresUrl;
use crate::domain::{health_check, validate};

/// Parses a duration in whole milliseconds, 1 ms to 24 h.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(ms) if (1..=86_400_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("give whole milliseconds from 1 to 86400000".to_owned()),
    }
}

/// Parses the interval of keep-alives in whole milliseconds. Readers expect one every 15 s.
pub(super) fn keep_alive(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(ms) if (10..=15_000).contains(&ms) => Ok(Duration::from_millis(ms)),
        _ => Err("give whole milliseconds from 10 to 15000".to_owned()),
    }
}

/// Parses a time limit in whole milliseconds, up to an hour; 0 for none.
pub(super) fn drain(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(ms) if ms <= 3_600_000 => Ok(Duration::from_millis(ms)),
        _ => Err("give whole milliseconds from 0 to 3600000".to_owned()),
    }
}

/// Parses the path before all others: empty, or segments of unreserved characters, without a slash at the end.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_segment = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    let path = text.strip_suffix('/').unwrap_or(text);
    match path.strip_prefix('/') {
        None if path.is_empty() => Ok(String::new()),
        Some(rest) if rest.split('/').all(is_segment) => Ok(path.to_owned()),
        _ => Err("give a path such as /panda, of letters, digits and -._~".to_owned()),
    }
}

/// Parses a size in MiB, or 0 for no limit. The engine rejects less than 6 MiB.
pub(super) fn mebibytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(mib) if mib == 0 || (6..=16_777_216).contains(&mib) => Ok(mib),
        _ => Err("give whole mebibytes from 6, such as 4096, or 0 for no limit".to_owned()),
    }
}

/// Parses a number of processors into thousandths of a processor.
pub(super) fn cpu_millis(text: &str) -> Result<u32, String> {
    let wrong = || "give a number of processors from 0.01 to 1024, such as 1.5".to_owned();
    let cpus: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.01..=1024.0).contains(&cpus) {
        return Err(wrong());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 10 and 1,024,000")]
    Ok((cpus * 1_000.0).round() as u32)
}

/// Parses the length of a lease, 1 s to 5 min. A slow disk can lose a shorter lease; with a longer one, the deployments of a dead replica
/// wait too long.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    millis(text)
        .ok()
        .filter(|lease| (Duration::from_secs(1)..=Duration::from_mins(5)).contains(lease))
        .ok_or_else(|| "give whole milliseconds from 1000 to 300000".to_owned())
}

/// Parses a path of health checks.
pub(super) fn health_path(text: &str) -> Result<String, String> {
    health_check::path(text)?;
    Ok(text.to_owned())
}

/// Parses the owner of the bus policy's content.
pub(super) fn bus_policy(text: &str) -> Result<BusPolicy, String> {
    text.parse().map_err(|_| "give accounts, organization or managed".to_owned())
}

/// Parses the id of an AWS organization.
pub(super) fn organization(text: &str) -> Result<String, String> {
    let fits =
        |id: &str| (10..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    match text.strip_prefix("o-") {
        Some(id) if fits(id) => Ok(text.to_owned()),
        _ => Err("give an organization's id such as o-a1b2c3d4e5".to_owned()),
    }
}

/// Parses the ARN of an IAM role, in which `{account}` may stand for the account's id.
pub(super) fn target_role(text: &str) -> Result<String, String> {
    role_arn(&text.replace("{account}", "123456789012")).map(|_| text.to_owned())
}

/// Parses the ARN of an IAM role.
pub(super) fn role_arn(text: &str) -> Result<String, String> {
    validate::role_arn(text)?;
    Ok(text.to_owned())
}

pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; give an address such as https://example.com"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("give an address that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address must not hold a user name or password".to_owned());
    }
    Ok(url)
}

/// Parses an address that receives tokens: `https`, or `http` on this machine.
pub(super) fn private_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    validate::private_url(&url)?;
    Ok(url)
}

/// Parses the address of the web page, so that paths can be joined to it.
pub(super) fn public_url(text: &str) -> Result<Url, String> {
    let mut url = http_url(text)?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("give the address of the page without user, query and fragment".to_owned());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

pub(super) fn postgres_url(text: &str) -> Result<SecretString, String> {
    // The message must not contain any part of the value, which may hold a password.
    PostgresUrl::parse(text).map_err(|error| error.to_string())?;
    Ok(SecretString::from(text.to_owned()))
}

/// Parses an origin as a browser sends it: scheme, host and port, without a path.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    let origin = url.origin().ascii_serialization();
    if origin == text.trim_end_matches('/') {
        Ok(origin)
    } else {
        Err(format!("give an origin without a path, such as {origin}"))
    }
}

pub(super) fn template(text: &str) -> Result<String, String> {
    if text.contains("{owner}") && text.contains("{repo}") {
        Ok(text.to_owned())
    } else {
        Err("the name must contain {owner} and {repo}, or repositories would share it".to_owned())
    }
}

/// Parses a process limit in Docker's notation: `nofile=1024:2048`.
pub(super) fn ulimit(text: &str) -> Result<String, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let wrong =
        || format!("give NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:2048; the names are {}", NAMES.join(", "));
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    match (NAMES.contains(&name), soft.parse::<i64>(), hard.parse::<i64>()) {
        (true, Ok(soft), Ok(hard)) if soft <= hard && soft >= 0 => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}
