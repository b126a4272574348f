//! Names of AWS resources, scopes and networks from user input: none exceeds AWS's length, and none is another source's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::names::{Names, push_event_pattern};
use panda_fuzz::domain::network::Network;
use panda_fuzz::domain::principal::Scope;
use panda_fuzz::domain::validate;

fuzz_target!(|input: (&str, &str, &str)| {
    let (owner, repo, other) = input;
    if let Ok(network) = other.parse::<Network>() {
        let _ = network.holds("::ffff:10.0.0.1".parse().unwrap());
    }
    if let Ok(scope) = Scope::of(&[other.to_owned()]) {
        assert!(scope.includes(&scope));
        let held = other.split_once('/').unwrap();
        assert!(held.1 == "*" || scope.holds(held.0, held.1));
        assert!(!scope.holds(&format!("{}x", held.0), held.1), "{other}");
    }
    if validate::owner(owner).is_err() || validate::repo(repo).is_err() {
        return;
    }
    let names = Names::default();
    assert!(names.rule(owner, repo).len() <= 64);
    let safe = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    assert!(safe(&names.rule(owner, repo)) && safe(&names.secret(owner, repo)));
    if let Ok(repository) = names.ecr_repository(owner, repo) {
        assert!(safe(&repository) && repository == repository.to_lowercase());
        serde_json::from_str::<serde_json::Value>(&push_event_pattern(&repository)).unwrap();
    }
});
