//! Names of branches, owners and repositories: an accepted name is no option, no path upwards, and nothing that git or a shell interprets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panda_fuzz::domain::validate;

fuzz_target!(|text: &str| {
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c == ' ');
    if validate::branch(text).is_ok() {
        assert!(plain(text) && !text.starts_with('-') && text.len() <= 244);
        assert!(!text.contains("..") && !text.contains("@{") && !text.contains(['~', '^', ':', '?', '*', '[', '\\']));
        assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock")));
    }
    assert!(validate::owner(text).is_err() || plain(text) && !text.starts_with('-') && !text.contains(['/', '.']));
    // GitHub has repositories that begin with a hyphen; their names are only used within an address.
    assert!(validate::repo(text).is_err() || plain(text) && !text.contains('/') && text != "." && text != "..");
    let _ = (
        validate::region(text, &[]),
        validate::access_key_id(text),
        validate::role_arn(text),
        validate::secret(text, 64),
    );
});
