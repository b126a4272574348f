//! Trace of a deployment: ids as in W3C Trace Context, chosen once and stored in the row, so that every replica that works on the deployment
//! reports to the same trace.

use sha2::{Digest as _, Sha256};

/// Trace that a deployment's spans belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Trace id: 32 hexadecimal digits, not all zero.
    pub id: String,
    /// Span of the caller that requested the deployment: 16 hexadecimal digits, not all zero.
    pub parent: Option<String>,
}

impl Trace {
    /// Parses a `traceparent` header. Returns none for a malformed one, which must not make the caller's deployment fail.
    pub fn of_header(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, id, parent, _flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may add parts; version 00 has exactly four, and `ff` is invalid for ever.
        let known = is_id(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let fits =
            known && is_id(id, 32) && is_id(parent, 16) && [id, parent].iter().all(|id| id.bytes().any(|b| b != b'0'));
        fits.then(|| Self { id: id.to_owned(), parent: Some(parent.to_owned()) })
    }
}

/// Returns the span id of an attempt. It is derived, not random, so that every replica that works on the attempt or reports its end uses the
/// same id.
pub fn attempt_span(deployment: &str, attempt: i32) -> [u8; 8] {
    let digest = Sha256::digest(format!("panda attempt {attempt} of {deployment}"));
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

fn is_id(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn continues_the_callers_trace() {
        let expected = Trace { id: ID.to_owned(), parent: Some("00f067aa0ba902b7".to_owned()) };
        for header in [
            format!("00-{ID}-00f067aa0ba902b7-01"),
            format!(" 00-{ID}-00f067aa0ba902b7-00 "),
            format!("cc-{ID}-00f067aa0ba902b7-01-what-comes-later"),
        ] {
            assert_eq!(Trace::of_header(&header), Some(expected.clone()), "{header}");
        }
    }

    #[test]
    fn ignores_a_malformed_header() {
        for header in [
            String::new(),
            ID.to_owned(),
            format!("00-{ID}-00f067aa0ba902b7"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{ID}-00f067aa0ba902b-01"),
            format!("00-{ID}é-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(Trace::of_header(&header), None, "{header}");
        }
    }

    #[test]
    fn span_of_an_attempt_is_unique_and_stable() {
        assert_eq!(attempt_span("dep_1", 1), attempt_span("dep_1", 1));
        assert_ne!(attempt_span("dep_1", 1), attempt_span("dep_1", 2));
        assert_ne!(attempt_span("dep_1", 1), attempt_span("dep_2", 1));
    }
}
