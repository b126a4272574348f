//! Region and partition of a sandbox.
//!
//! Inside, everything is in [`REGION`] of the partition `aws`. A sandbox elsewhere exchanges the names of both regions and both partitions in every
//! request and response, so that no part of the simulation needs to know about it. An ARN of another partition then names nothing here.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;

use super::accounts::REGION;

/// The regions that a sandbox may be in, with their partitions.
const REGIONS: [(&str, &str); 8] = [
    (REGION, "aws"),
    ("us-east-1", "aws"),
    ("eu-central-1", "aws"),
    ("ap-southeast-1", "aws"),
    ("cn-north-1", "aws-cn"),
    ("cn-northwest-1", "aws-cn"),
    ("us-gov-west-1", "aws-us-gov"),
    ("us-gov-east-1", "aws-us-gov"),
];

/// Region and partition of one sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: &'static str,
    partition: &'static str,
}

impl Default for Place {
    fn default() -> Self {
        Self { region: REGION, partition: "aws" }
    }
}

impl Place {
    /// The place in `region`.
    ///
    /// # Errors
    /// Names the regions, when it is none of them.
    pub fn in_region(region: &str) -> Result<Self, String> {
        let found = REGIONS.iter().find(|(known, _)| *known == region);
        let names = || REGIONS.map(|(name, _)| name).join(", ");
        found
            .map(|&(region, partition)| Self { region, partition })
            .ok_or_else(|| format!("region: the sandbox is not in {region}; write one of {}", names()))
    }

    /// Exchanges the names of this place and the inner one.
    pub fn exchange(self, text: &str) -> String {
        if self == Self::default() {
            return text.to_owned();
        }
        let text = if self.region == REGION { text.to_owned() } else { swap(text, self.region, REGION) };
        if self.partition == "aws" { text } else { swap(&text, &format!("arn:{}:", self.partition), "arn:aws:") }
    }

    /// Exchanges the names in a response, in which IAM encodes policies.
    pub fn outward(self, text: String) -> String {
        if self == Self::default() { text } else { self.exchange_encoded(self.exchange(&text)) }
    }

    /// Exchanges the partitions of ARNs whose colons are encoded for URLs.
    fn exchange_encoded(self, text: String) -> String {
        let encoded = |partition: &str| format!("arn%3A{partition}%3A");
        if self.partition == "aws" { text } else { swap(&text, &encoded(self.partition), &encoded("aws")) }
    }

    /// Exchanges the names in a request; bodies that are not text stay.
    pub fn exchange_request(self, headers: &mut HeaderMap, body: Bytes) -> Bytes {
        if self == Self::default() {
            return body;
        }
        let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(Ok(signed)) = signed.map(|signed| HeaderValue::from_str(&self.exchange(signed))) {
            headers.insert(header::AUTHORIZATION, signed);
        }
        // Form bodies encode the colons of an ARN.
        let Ok(text) = std::str::from_utf8(&body) else { return body };
        Bytes::from(self.exchange_encoded(self.exchange(text)))
    }
}

fn swap(text: &str, one: &str, other: &str) -> String {
    const BETWEEN: &str = "\u{0}";
    text.replace(one, BETWEEN).replace(other, one).replace(BETWEEN, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_region_and_partition() {
        let china = Place::in_region("cn-north-1").unwrap();
        let inner = "arn:aws:states:ap-northeast-2:123456789012:x";
        let outer = "arn:aws-cn:states:cn-north-1:123456789012:x";
        assert_eq!((china.exchange(inner).as_str(), china.exchange(outer).as_str()), (outer, inner));
        assert_eq!(Place::default().exchange(inner), inner);
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "AWS4 Credential=K/1/cn-north-1/sts/aws4_request".parse().unwrap());
        let body = china.exchange_request(&mut headers, Bytes::from_static(b"RoleArn=arn%3Aaws-cn%3Aiam%3A%3A1"));
        assert_eq!(body, "RoleArn=arn%3Aaws%3Aiam%3A%3A1");
        assert_eq!(china.outward("arn:aws:x arn%3Aaws%3Aiam".to_owned()), "arn:aws-cn:x arn%3Aaws-cn%3Aiam");
        assert!(headers["authorization"].to_str().unwrap().contains("/ap-northeast-2/"));
        assert!(Place::in_region("mars-1").unwrap_err().contains("us-gov-west-1"));
    }
}
