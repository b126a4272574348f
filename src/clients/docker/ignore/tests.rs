//! What single patterns and lists decide, each line checked with Docker's own client (`tests/it/clients/docker_ignore.rs` does it again).

use super::*;

/// Whether a tree walk leaves `path` out.
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
fn a_plain_path_is_anchored_and_covers_what_lies_below() {
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
fn one_star_and_a_question_mark_stay_within_a_name() {
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
fn two_stars_in_front_match_any_end_of_a_path() {
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
fn two_stars_inside_match_any_number_of_folders_but_no_part_of_a_name() {
    check("a**z", &["az", "a/z", "a/b/z", "abc/z", "abc/def/z"], &["aqz", "abc/def/xz"]);
    check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a/bz"]);
    check("a**/*.txt", &["a/f.txt", "a/b/c/f.txt"], &["b/f.txt"]);
    check("dir/**", &["dir/a", "dir/a/b"], &["dir", "dira"]);
    check("a**", &["a", "ab", "a/b"], &["b"]);
    check("a/*.txt**", &["a/f.txt", "a/f.txt.bak"], &["f.txt"]);
}

#[test]
fn brackets_and_escapes_are_gos() {
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
fn brackets_hold_what_dockers_translation_makes_of_them() {
    // A star in brackets becomes `[^/]*`: the class ends at its `]`, and a literal `]` is wanted.
    check("[*]", &["[]", "^]", "^^[]"], &["*", "a"]);
    check("[a?b]", &["ab]", "^b]"], &["a", "?"]);
    // `|` and braces are operators beside a wildcard, and only there.
    check("a.|b?", &["a.log", "xbc"], &["ab", "b", "a"]);
    check("x{2}*", &["xx", "xxy"], &["x", "xy", "x{2}"]);
    check("x{2,a}*", &["x{2,a}b"], &["xx"]);
    // A letter after a backslash is Go's, not itself.
    check("x\\d", &["x1"], &["xd"]);
    check("\\Qa.b\\E*", &["a\\.bc"], &["a.b"]);
    check("x\\x41", &["xA"], &["xx41"]);
}

#[test]
fn the_last_pattern_that_matches_decides() {
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
fn an_excluded_folder_is_entered_as_the_builders_client_does() {
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
fn a_path_that_is_not_text_is_matched_byte_by_byte() {
    let rules = IgnoreRules::parse(b"caf?.txt\n**.bak").unwrap();
    assert!(rules.excludes(b"caf\xe9.txt", &ParentMatches::default()).0);
    assert!(rules.excludes(b"\xff/\xfe.bak", &ParentMatches::default()).0);
    assert!(!rules.excludes(b"caf\xe9\xe9.txt", &ParentMatches::default()).0);
}

#[test]
fn a_malformed_pattern_is_an_error_that_names_its_line() {
    for pattern in ["[a", "!", "a\\", "[z-a]", "[Local-Only]/", "\\pL", "a\\1", "[a-\\d]", "a*{2}", "x{3,2}*", "x?|{2}"]
    {
        let error = IgnoreRules::parse(format!("ok\n\n{pattern}\nok").as_bytes()).unwrap_err();
        assert!(matches!(error, IgnoreError::Malformed { line: 3, .. }), "{pattern}: {error}");
    }
    let error = IgnoreRules::parse("*a".repeat(40).as_bytes()).unwrap_err();
    assert_eq!(error, IgnoreError::TooComplex { line: 1 });
}

/// The work of a hostile list on a large tree is bounded: it is the product of two bounded numbers.
#[test]
fn a_thousand_patterns_full_of_wildcards_compile_and_match_in_reasonable_time() {
    let pattern = format!("{}b", "*a".repeat(20));
    let text = (0..1_000).map(|number| format!("{pattern}{number}")).collect::<Vec<_>>().join("\n");
    let started = std::time::Instant::now();
    let rules = IgnoreRules::parse(text.as_bytes()).unwrap();
    for _ in 0..5 {
        assert!(!rules.excludes("a".repeat(250).as_bytes(), &ParentMatches::default()).0);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
