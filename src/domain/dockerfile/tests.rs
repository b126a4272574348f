use super::*;

fn args(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns `line: what` of each need.
fn needs(text: &str) -> Vec<String> {
    let needs = Dockerfile::parse(text).needs_buildkit(None, &BTreeMap::new());
    needs.iter().map(|need| format!("{}: {}", need.line, need.what)).collect()
}

#[track_caller]
fn needs_one(text: &str, line: usize, what: &str) {
    let found = needs(text);
    let is_it = matches!(found.as_slice(), [only] if only.starts_with(&format!("{line}: ")) && only.contains(what));
    assert!(is_it, "{text:?}: {found:#?}");
}

#[track_caller]
fn needs_none(text: &str) {
    assert_eq!(needs(text), Vec::<String>::new(), "{text:?}");
}

#[test]
fn lists_what_the_classic_builder_ignores() {
    let after = "FROM busybox:1\n";
    for (text, what) in [
        ("RUN <<XX\nmkdir /www\nXX\n", "`<<XX` of RUN"),
        ("RUN cat > /f <<'XX'\ntext\nXX\n", "`<<XX` of RUN"),
        ("RUN cat <<\"XX\" > /f && echo made\nUSER root\nXX\n", "`<<XX` of RUN"),
        ("RUN <<-XX\n\ttrue\n\tXX\n", "`<<XX` of RUN"),
        ("RUN cat 3<<XX\ntrue\nXX\n", "`<<XX` of RUN"),
        ("COPY <<XX /etc/app.conf\nanswer=42\nXX\n", "`<<XX` of COPY"),
        ("ADD <<XX <<YY /etc/\na\nXX\nb\nYY\n", "`<<XX` of ADD"),
        ("ONBUILD RUN <<XX\ntrue\nXX\n", "of ONBUILD RUN"),
        ("RUN --mount=type=cache,target=/c true\n", "`RUN --mount`"),
        ("run --mount=type=secret,id=npm cat /run/secrets/npm\n", "`RUN --mount`"),
        ("RUN --network=none echo offline\n", "`RUN --network`"),
        ("RUN --security=insecure true\n", "`RUN --security`"),
        ("RUN --device=x true\n", "`RUN --device`"),
        ("COPY --chmod=755 a /a\n", "`COPY --chmod`"),
        ("COPY --link a /a\n", "`COPY --link`"),
        ("COPY --parents a /a\n", "`COPY --parents`"),
        ("COPY --exclude=*.x a /a\n", "`COPY --exclude`"),
        ("ADD --chmod=1 a /a\n", "`ADD --chmod`"),
        ("ADD --checksum=sha256:00 http://h/x /x\n", "`ADD --checksum`"),
        ("ADD --keep-git-dir=true x /x\n", "`ADD --keep-git-dir`"),
        ("ADD --unpack x /x\n", "`ADD --unpack`"),
        ("ADD --link x /x\n", "`ADD --link`"),
        ("COPY --brand-new=1 a /a\n", "`COPY --brand-new`"),
        ("HEALTHCHECK --start-interval=1s CMD true\n", "`HEALTHCHECK --start-interval`"),
        ("ONBUILD COPY --link a /a\n", "`ONBUILD COPY --link`"),
        ("ADD https://host/t/b01.git /src\n", "git repository"),
        ("ADD https://host/t/b01.git#main:sub /src\n", "git repository"),
        ("ADD git@github.com:a/b /src\n", "git repository"),
        ("ADD git://host/x /src\n", "git repository"),
        ("ADD [\"ssh://git@host/x\", \"/src\"]\n", "git repository"),
        ("ARG TARGETARCH\n", "`ARG TARGETARCH`"),
        ("ARG A=1 BUILDPLATFORM\n", "`ARG BUILDPLATFORM`"),
        ("ARG TARGETOS=linux\n", "`ARG TARGETOS`"),
    ] {
        needs_one(&format!("{after}{text}USER 1\n"), 2, what);
    }
    needs_one("FROM busybox:1\nARG R=https://host/x.git\nADD ${R} /src\n", 3, "git repository");
    needs_one("FROM --platform=$BUILDPLATFORM busybox:1\n", 1, "`$BUILDPLATFORM`");
    needs_one("FROM --platform=${TARGETPLATFORM:-linux/amd64} busybox:1\n", 1, "`$TARGETPLATFORM`");
    needs_one("FROM base-${TARGETARCH}\n", 1, "`$TARGETARCH`");
    needs_one("# syntax=docker/dockerfile:1.7\nFROM busybox:1\n", 1, "`# syntax=docker/dockerfile:1.7`");
    needs_one("#Syntax = x\nFROM busybox:1\n", 1, "syntax");
    needs_one("# escape=`\n# syntax=x\nFROM busybox:1\n", 2, "syntax");
    needs_one("#!/usr/bin/env docker\n# syntax=x\nFROM busybox:1\n", 2, "syntax");
    needs_one("\u{feff}# syntax=x\nFROM busybox:1\n", 1, "syntax");
    needs_one("# check=skip=all;error=true\nFROM busybox:1\n", 1, "check");
}

#[test]
fn classic_language_needs_no_buildkit() {
    for text in [
        "FROM busybox:1\nCOPY --chown=1:1 a /a\nADD --chown=1 http://h/x.tar.gz /x\nRUN echo hi\n",
        "FROM --platform=linux/arm64 busybox:1\n",
        "ARG V=1\nFROM busybox:$V\nARG V\nRUN echo $V\n",
        "FROM busybox:1 AS a\nFROM busybox:1\nCOPY --from=a /x /x\n",
        "FROM busybox:1 AS a\nFROM a\n",
        "FROM busybox:1\nFROM busybox:1\nCOPY --from=0 /x /x\n",
        "FROM busybox:1\nHEALTHCHECK --interval=1s --timeout=1s --start-period=1s --retries=3 CMD true --chmod\n",
        "FROM busybox:1\nHEALTHCHECK NONE\n",
        "# a comment\n# syntax=x\nFROM busybox:1\n",
        "FROM busybox:1\n# syntax=x\n",
        "# check=skip=all\nFROM busybox:1\n",
        "FROM busybox:1\nRUN echo $((1 << 2)) && cat < /dev/null\n",
        "FROM busybox:1\nRUN echo '<<XX'\nXX\n",
        "FROM busybox:1\nRUN echo \"a <<XX\"\nXX\n",
        "FROM busybox:1\nRUN cat <<<XX\nXX\n",
        "FROM busybox:1\nRUN [\"sh\", \"-c\", \"cat <<XX\"]\nXX\n",
        "FROM busybox:1\nENV A=<<XX\nXX\n",
        "FROM busybox:1\nRUN curl --link --mount=x\n",
        "FROM busybox:1\nCMD [\"--chmod\"]\n",
        "FROM busybox:1\nRUN echo a \\\n  --mount=x \\\n# --mount\n\n  b\n",
        "FROM busybox:1\nENV TARGETARCH=x\nRUN echo $TARGETARCH\n",
        "FROM busybox:1\nADD github.com/a/b /src\nADD x.git /x\nADD $UNKNOWN /y\n",
        "",
        "nonsense\n",
    ] {
        needs_none(text);
    }
}

#[test]
fn parses_continued_lines_and_here_documents() {
    needs_one("FROM img\nRUN \\\n  # comment\n  --mount=type=cache,target=/x \\\n  true\n", 2, "RUN --mount");
    needs_one("# escape=`\nFROM img\nRUN `\n --mount=x true\n", 3, "RUN --mount");
    needs_one("FROM img\nRUN echo \\\\\nRUN --mount=x true\n", 3, "RUN --mount");
    needs_one("FROM img\r\nRUN \\\r\n --mount=x true\r\n", 2, "RUN --mount");
    // Lines within a here-document are no instructions; lines after its end are.
    assert_eq!(needs("FROM img\nRUN <<A <<B\nCOPY --link x y\nA\nCOPY --chmod=1 x y\nB\nCOPY --link z y\n").len(), 2);
    // A here-document without an end swallows nothing.
    needs_one("FROM img\nRUN cat <<A\nCOPY --link x y\n", 3, "COPY --link");
}

#[test]
fn lists_unused_stages() {
    let text =
        "FROM img AS base\nFROM base AS test\nRUN exit 3\nFROM base AS build\nFROM scratch\nCOPY --from=build /x /x\n";
    needs_one(text, 2, "the stage `test`");
    let file = Dockerfile::parse(text);
    let lines = |target: &str| {
        let needs = file.needs_buildkit(Some(target), &BTreeMap::new());
        needs.iter().map(|need| need.line).collect::<Vec<_>>()
    };
    assert_eq!(lines("test"), Vec::<usize>::new());
    assert_eq!(lines("BUILD"), [2]);
    assert_eq!(lines("0"), Vec::<usize>::new());
    assert_eq!(lines("unknown"), Vec::<usize>::new(), "the builder rejects it");
    needs_one("ARG B=one\nFROM img AS one\nFROM img AS two\nFROM $B\n", 3, "the stage `two`");
}

#[test]
fn lists_images_without_stages() {
    let text = "ARG TAG=1 NAME\nFROM busybox:$TAG AS a\nFROM a AS b\nCOPY --from=a /x /x\nCOPY --from=nginx:2 /y /y\n\
                FROM ${NAME:-alpine}\nCOPY --from=0 /x /x\nCOPY --from=B /x /x\nFROM scratch\nFROM $UNKNOWN\n";
    let listed = |pairs: &[(&str, &str)]| -> Vec<String> {
        let references = Dockerfile::parse(text).references(&args(pairs));
        references.into_iter().map(|reference| format!("{} {}", reference.line, reference.name)).collect()
    };
    assert_eq!(listed(&[]), ["2 busybox:1", "5 nginx:2", "6 alpine", "10 $UNKNOWN"]);
    assert_eq!(listed(&[("TAG", "9"), ("NAME", "debian")]), ["2 busybox:9", "5 nginx:2", "6 debian", "10 $UNKNOWN"]);
}

#[test]
fn lists_images_that_could_be_local_ids() {
    for id in ["4f2a", "deadbeef", "sha256:4f2a", "SHA256:AB", "0"] {
        assert!(is_image_id(id), "{id}");
        needs_one(&format!("FROM {id}\n"), 1, "id of a local image");
    }
    needs_one("FROM img:1\nCOPY --from=4f2a /x /x\n", 2, "id of a local image");
    for name in ["busybox", "busybox:1", "a/4f2a", "deadbeef:1", "x@sha256:4f2a", "docker.io/library/ada"] {
        assert!(!is_image_id(name), "{name}");
    }
}

#[test]
fn parses_a_hostile_file_in_linear_time() {
    let started = std::time::Instant::now();
    for text in [
        "RUN <<X\n",
        "RUN --mount=x \\\n",
        "ARG A=$A$A$A\n",
        "FROM $A\n",
        "RUN <<A <<B <<C\n",
        "$${${$",
        "\"'\\",
        "COPY --from=x\n",
    ] {
        let text = format!("FROM img\n{}", text.repeat((1 << 20) / text.len()));
        assert!(needs(&text).len() <= 20);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
