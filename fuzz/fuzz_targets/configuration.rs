//! Operators' files: keys, and OpenID Connect issuers with their rules. Invalid files are refused with an error, never with a panic, and no rule is
//! empty.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::keyring::{Keyring, LocalKey};
use panda_fuzz::domain::oidc_claims;
use secrecy::SecretString;
use serde_json::Map;

fuzz_target!(|input: (&str, &str)| {
    let (text, claims) = input;
    if let Err(error) = Keyring::parse(&SecretString::from(text), &|_| Arc::new(LocalKey::new(&[0; 32]).unwrap())) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(issuers) = oidc_claims::parse(text) {
        for issuer in issuers {
            assert!(oidc_claims::is_safe_address(&issuer.issuer));
            assert_eq!(issuer.right(&Map::new()), None, "no claims, no right");
            if let Ok(claims) = serde_json::from_str(claims) {
                let _ = issuer.right(&claims);
            }
        }
    }
});
