//! Files that an operator gives: keys, and issuers of OpenID Connect with their rules. Refused with words, never with a panic, and no rule matches
//! nothing at all.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::claims;
use panda_fuzz::domain::keyring::{Keyring, LocalKey};
use secrecy::SecretString;
use serde_json::Map;

fuzz_target!(|input: (&str, &str)| {
    let (text, claims) = input;
    if let Err(error) = Keyring::parse(&SecretString::from(text), &|_| Arc::new(LocalKey::new(&[0; 32]).unwrap())) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(issuers) = claims::parse(text) {
        for issuer in issuers {
            assert!(claims::is_fit(&issuer.issuer));
            assert_eq!(issuer.right(&Map::new()), None, "no claims, no right");
            if let Ok(claims) = serde_json::from_str(claims) {
                let _ = issuer.right(&claims);
            }
        }
    }
});
