//! Expected results for single patterns and lists; `tests/it/clients/docker_ignore.rs` verifies each line against Docker's own client.

use super::*;

/// Reports whether a tree walk excludes `path`.
fn excluded(rules: &str, path: &str) -> bool {
    let rules = IgnoreRules::parse(rules.as_bytes()).unwrap();
    let mut parent = ParentMatches::default();
    let mut verdict = false;
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        (verdict, parent) = rules.excludes(&path.as_bytes()[..end], &parent);
    }
    let (at_once, _) = rules.excludes(path.as_bytes(), &ParentMatches::default());
    assert_eq!(verdict, at_once, "{path}: with the matches of its parents, and without");
    verdict
}

#[track_caller]
fn check(pattern: &str, out: &[&str], kept: &[&str]) {
    for path in out {
        assert!(excluded(pattern, path), "{pattern:?} must exclude {path:?}");
    }
    for path in kept {
        assert!(!excluded(pattern, path), "{pattern:?} must keep {path:?}");
    }
}

#[test]
fn plain_path_is_anchored() {
    check("target", &["target", "target/debug/x"], &["sub/target", "target2"]);
    check("/a/b/", &["a/b", "a/b/c"], &["a", "a/c", "x/a/b"]);
    check("./a/../b", &["b"], &["a", "a/b"]);
    check("a.|)$(}+{b", &["a.|)$(}+{b"], &["axb"]);
    check("{a,b}", &["{a,b}"], &["a", "b"]);
    check("x/.", &["x", "x/y"], &[]);
    check(".", &[], &["a", "a/b"]);
    check("..", &[], &["a"]);
    check("/", &[], &["a"]);
}

#[test]
fn single_star_stays_within_a_name() {
    check("*.log", &["a.log", ".log"], &["sub/a.log", "a.log2"]);
    check("*/*.log", &["sub/a.log"], &["a.log", "a/b/c.log"]);
    check("a?b", &["axb", "a☺b", "a☺b/c"], &["ab", "a/b", "axxb"]);
    check("a*b*c", &["abc", "axbyc"], &["ab/c", "a/bc"]);
    check("*", &["a", ".a", "a/b"], &[]);
    check("*/b", &["a/b", "a/b/c"], &["b", "x/a/b"]);
    check(".*", &[".env", ".git/x"], &["a.env", "a/.env"]);
    check("a\nb", &["a"], &["c"]);
}

#[test]
fn leading_double_star_matches_any_suffix() {
    check("**.env", &[".env", "prod.env", "config/.env", "deep/er/x.env"], &["x.envy"]);
    check("**~", &["a~", "b/a~", "b~/a"], &["a"]);
    check("**_test.go", &["x_test.go", "a/b/x_test.go"], &["test.go"]);
    check("**/x", &["x", "a/x", "a/b/x/y"], &["ax", "a/bx"]);
    check("**/.foo", &[".foo", "a/.foo"], &["bar.foo"]);
    check("**/foo/bar", &["foo/bar", "a/foo/bar"], &["foo", "afoo/bar"]);
    check("**", &["a", "a/b"], &[]);
    check("**/", &["a", "a/b"], &[]);
    check("**/**", &["a", "a/b"], &[]);
    check("**/*.key", &["a.key", "a/b.key"], &["a.keys"]);
    check("**/**/*.txt", &["a.txt", "a/b/c.txt"], &["a.txt2"]);
    check("**/dir/*", &["dir/a", "x/dir/a", "x/dir/a/b"], &["dir", "x/dir"]);
    check("**/dir/**", &["dir/a", "x/dir/a/b"], &["dir"]);
}

#[test]
fn inner_double_star_matches_whole_folders() {
    check("a**z", &["az", "a/z", "a/b/z", "abc/z", "abc/def/z"], &["aqz", "abc/def/xz"]);
    check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a/bz"]);
    check("a**/*.txt", &["a/f.txt", "a/b/c/f.txt"], &["b/f.txt"]);
    check("dir/**", &["dir/a", "dir/a/b"], &["dir", "dira"]);
    check("a**", &["a", "ab", "a/b"], &["b"]);
    check("a/*.txt**", &["a/f.txt", "a/f.txt.bak"], &["f.txt"]);
}

#[test]
fn brackets_follow_go() {
    check("[ab].txt", &["a.txt", "b.txt"], &["c.txt"]);
    check("a[^b-d]e", &["aze", "a☺e"], &["ace"]);
    check("[a-ζ]*", &["α", "b"], &["A"]);
    check("[\\]a]", &["]", "a"], &["b"]);
    check("[x\\-z]", &["x", "-", "z"], &["y"]);
    check("a]", &["a]"], &["a"]);
    check("a\\*b", &["a*b"], &["ab", "axb"]);
    check("\\#a", &["#a"], &["a"]);
    check("\\!a", &["!a"], &["a"]);
    check("a\\\\", &["a\\"], &["a"]);
    check("[[]x", &["[x"], &["x"]);
    check("[a&&b]", &["a", "b", "&"], &["c"]);
    check("[[:digit:]]x", &["1x"], &["ax"]);
    check("[.+$]", &[".", "+", "$"], &["a"]);
}

#[test]
fn brackets_contain_dockers_translation() {
    // A star in brackets becomes `[^/]*`: the class ends at its `]`, and a literal `]` must follow.
    check("[*]", &["[]", "^]", "^^[]"], &["*", "a"]);
    check("[a?b]", &["ab]", "^b]"], &["a", "?"]);
    // `|` and braces are operators only in a pattern with a wildcard.
    check("a.|b?", &["a.log", "xbc"], &["ab", "b", "a"]);
    check("x{2}*", &["xx", "xxy"], &["x", "xy", "x{2}"]);
    check("x{2,a}*", &["x{2,a}b"], &["xx"]);
    // A letter after a backslash has its meaning in Go, not its literal one.
    check("x\\d", &["x1"], &["xd"]);
    check("\\Qa.b\\E*", &["a\\.bc"], &["a.b"]);
    check("x\\x41", &["xA"], &["xx41"]);
}

#[test]
fn last_match_decides() {
    check("*\n!src", &["README.md"], &["src", "src/main.rs"]);
    check("!a/b\na", &["a/b", "a/b/c"], &[]);
    check("docs\n!docs/keep.md", &["docs/other.md"], &["docs/keep.md"]);
    check("docs/*\n!docs/keep.md\ndocs/keep*", &["docs/keep.md"], &[]);
    check("**\n!util/web\nutil/web/x", &["util/web/x", "util"], &["util/web", "util/web/y"]);
    check("*.go\n!f.go", &["g.go"], &["f.go"]);
    check("!f.go\n*.go", &["f.go"], &[]);
    check("a\n!a\na/b", &["a/b"], &["a", "a/c"]);
}

#[test]
fn enters_excluded_folders_like_the_clients() {
    use Descent::{BuildKit, Classic};
    for (rules, folder, classic, buildkit) in [
        ("*", "a", false, false),
        ("*\n!a/b", "a", true, true),
        ("*\n!a/b", "c", false, false),
        ("*\n!a/**", "a", true, true),
        ("*\n!**/x", "a", false, true),
        ("*\n!a*/x", "ab", false, true),
        ("*\n!a/b", "a/b/c", false, false),
    ] {
        let rules = IgnoreRules::parse(rules.as_bytes()).unwrap();
        assert_eq!(rules.may_hold_exceptions(folder.as_bytes(), Classic), classic, "{rules:?} {folder}");
        assert_eq!(rules.may_hold_exceptions(folder.as_bytes(), BuildKit), buildkit, "{rules:?} {folder}");
    }
}

#[test]
fn matches_non_utf8_paths_by_bytes() {
    let rules = IgnoreRules::parse(b"caf?.txt\n**.bak").unwrap();
    assert!(rules.excludes(b"caf\xe9.txt", &ParentMatches::default()).0);
    assert!(rules.excludes(b"\xff/\xfe.bak", &ParentMatches::default()).0);
    assert!(!rules.excludes(b"caf\xe9\xe9.txt", &ParentMatches::default()).0);
}

#[test]
fn malformed_pattern_names_its_line() {
    for pattern in ["[a", "!", "a\\", "[z-a]", "[Local-Only]/", "\\pL", "a\\1", "[a-\\d]", "a*{2}", "x{3,2}*", "x?|{2}"]
    {
        let error = IgnoreRules::parse(format!("ok\n\n{pattern}\nok").as_bytes()).unwrap_err();
        assert!(matches!(error, IgnoreError::Malformed { line: 3, .. }), "{pattern}: {error}");
    }
    let error = IgnoreRules::parse("*a".repeat(40).as_bytes()).unwrap_err();
    assert_eq!(error, IgnoreError::TooComplex { line: 1 });
}

/// The work of a hostile list on a large tree is bounded, because it is the product of two bounded numbers.
#[test]
fn thousand_wildcard_patterns_are_fast() {
    let pattern = format!("{}b", "*a".repeat(20));
    let text = (0..1_000).map(|number| format!("{pattern}{number}")).collect::<Vec<_>>().join("\n");
    let started = std::time::Instant::now();
    let rules = IgnoreRules::parse(text.as_bytes()).unwrap();
    for _ in 0..5 {
        assert!(!rules.excludes("a".repeat(250).as_bytes(), &ParentMatches::default()).0);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
