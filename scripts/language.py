#!/usr/bin/env python3
"""Checks the language of comments, documents and texts against docs/STYLE.md.

    scripts/language.py            fail where a limit is exceeded (make lint)
    scripts/language.py --list     print every finding, with file and line
    scripts/language.py --count    print the measures, and the findings of each folder

The words come from the table "Words" of docs/STYLE.md; the limits are below, and nowhere else.
Code is not prose: what stands in backticks, and a Rust string without a space (a name, an address, a value). Tables that `make docs-renew` writes from
the database's comments change with the schema. A line that has to quote a listed word carries the marker `style: quoted`.
"""

import collections
import re
import statistics
import subprocess
import sys
from pathlib import Path

import rust_imports

# Measure: the highest value that passes. None: printed, not checked.
LIMITS = {
    "listed words": 0,
    "doc comments that repeat a name": 0,
    "comments opening with What/Whether/Who/Where, per 1,000 comment lines": 5,
    "doc blocks of three words or fewer": 20,
    "public type names used twice": 0,
    "parameters of the commit statement": None,
    "longest function (lines)": 80,
    "helpers in tests (%)": 35,
    "README lines": 120,
    "import cycles": 0,
    "file length, median (lines)": None,
    "file length, 90th percentile (lines)": None,
}

FOLDERS = ("src", "migrations", "crates", "tests", "benches", "docs", "helm", "clients", "scripts", "packaging", ".ci", ".github", "examples", "fuzz")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "Dockerfile", ".env.example")
# The standard quotes the words. Catalogues and what is compared byte by byte are a contract. Inputs of tests are not prose.
EXEMPT = re.compile(
    r"docs/(STYLE|GLOSSARY)\.md|scripts/language\.py|src/domain/(events|additions)\.json|tests/it/chart/golden/.*"
    r"|tests/it/(hostile|builds/cases|report/data)/.*|tests/.*\.txt|.*(requirements\.(in|txt)|package(-lock)?\.json|Cargo\.lock)"
)
COMMENT = {"rs": r"//[/!]?", "js": r"//|/?\*+", "mjs": r"//|/?\*+", "ts": r"//|/?\*+", "sql": r"--", "sh": r"#", "yaml": r"#", "yml": r"#", "tpl": r"#",
           "toml": r"#", "py": r"#", "Makefile": r"#", "Dockerfile": r"#", "run": r"#", "example": r"#", "service": r"#", "env": r"#"}
RUST_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*)|(?P<block>/\*.*?\*/)"
    r"|(?P<raw>b?r(?P<hashes>#*)\".*?\"(?P=hashes))|(?P<string>b?\"(?:\\.|[^\"\\])*\")|(?P<char>b?'(?:\\[^\n]+?|[^'\\\n])')",
    re.DOTALL,
)
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|SET|LISTEN|LOCK|COPY|BEGIN|DO|EXPLAIN)\b")
# Tables of docs/reporting.md, generated from the comments of migrations: they change with the schema.
GENERATED = re.compile(r"<!-- Generated from the database's comments.*?<!-- Until here\. -->", re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
# Words that carry nothing when a comment is compared with a name.
FILLER = set("a an the of for to in on at by with and or as is are be its this that it from one all each which used type struct value".split())


def tracked():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True)
    for name in sorted(set(listed.stdout.splitlines())):
        if (name in FILES or name.split("/")[0] in FOLDERS) and not EXEMPT.fullmatch(name) and Path(name).is_file():
            yield name


def listed_words():
    table = Path("docs/STYLE.md").read_text().split("## Words", 1)[1]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)[1:]
    phrases = [phrase.strip() for row in rows if not row.startswith("---") for phrase in row.split(",")]
    assert len(phrases) > 20, "docs/STYLE.md has no table of words"
    return re.compile(r"\b(" + "|".join(re.sub(r"\s+", r"\\s+", re.escape(phrase).replace("\\ ", " ")) for phrase in phrases) + r")\b", re.IGNORECASE)


class Rust:
    """A Rust file as comments, texts, and code in which both are blank."""

    def __init__(self, text):
        self.comments, self.texts, code, end = [], [], [], 0
        for token in RUST_TOKEN.finditer(text):
            line = text.count("\n", 0, token.start()) + 1
            code.append(text[end:token.start()])
            code.append(blank(token))
            end = token.end()
            if token["comment"]:
                self.comments.append((line, token["comment"], not text[text.rfind("\n", 0, token.start()) + 1:token.start()].strip()))
            elif (token["string"] or token["raw"]) and not SQL.match(token.group().lstrip('br#"')):
                self.texts.append((line, token.group()))
        self.code = "".join(code) + text[end:]
        self.lines = text.splitlines()

    def blocks(self):
        """Groups comment lines of one kind that follow each other: (line, marker, text)."""
        groups, last = [], None
        for line, comment, alone in self.comments:
            marker, body = re.match(r"(//[/!]?)(.*)", comment).groups()
            if groups and alone and last == line - 1 and groups[-1][1] == marker:
                groups[-1][2].append(body)
            else:
                groups.append((line, marker, [body]))
            last = line if alone else None
        return groups

    def functions(self):
        """Name, first line, last line and whether it is a test, of each function with a body."""
        # The macro makes two tests of each of these.
        scenarios = set(re.findall(r"\w+", " ".join(re.findall(r"on_both_engines!\(([^)]*)\)", self.code))))
        for found in re.finditer(r"((?:#\[[^\]]*\]\s*)*)(?:pub(?:\([^)]*\))?\s+)?(?:const\s+|async\s+|unsafe\s+)*\bfn\s+(\w+)", self.code):
            opening = re.compile(r"[{;]").search(self.code, found.end())
            if not opening or opening.group() == ";":
                continue
            depth, at = 0, opening.start()
            for brace in re.compile(r"[{}]").finditer(self.code, at):
                depth += 1 if brace.group() == "{" else -1
                if depth == 0:
                    at = brace.end()
                    break
            name_line = self.code.count("\n", 0, found.end()) + 1
            first = self.code.count("\n", 0, found.start()) + 1
            is_test = re.search(r"#\[(tokio::)?(test|rstest)\b", found.group(1)) is not None or found.group(2) in scenarios
            yield found.group(2), (first if is_test else name_line), self.code.count("\n", 0, at) + 1, is_test


def other_blocks(name, text):
    """Comment blocks of a file that is not Rust, or the prose of a document: (line, lines)."""
    kind = name.rsplit(".", 1)[-1] if "." in name.rsplit("/", 1)[-1][1:] else name.rsplit("/", 1)[-1]
    lines = text.splitlines()
    if kind == "md" or name.endswith("NOTES.txt"):
        # An entry or a paragraph may wrap; a table's row is one line.
        yield 1, lines
    elif kind in COMMENT:
        block, first = [], 0
        for number, line in enumerate(lines + [""], 1):
            comment = re.match(rf"\s*(?:{COMMENT[kind]})(?!\S*!/)(.*)", line)
            if comment:
                block, first = block + [comment.group(1)], first or number
            elif block:
                yield first, block
                block, first = [], 0
        # Descriptions, titles and messages.
        if kind in ("yaml", "tpl", "sh", "run", "Makefile", "js", "mjs"):
            for number, line in enumerate(lines, 1):
                if not re.match(rf"\s*(?:{COMMENT[kind]})", line):
                    texts = re.findall(r"(\"[^\"]*\"|`[^`]*`|//.*)", line) if kind in ("js", "mjs") else [line]
                    yield number, [" | ".join(texts)]


def blank(found):
    return re.sub(r"[^\n]", " ", found.group())


def word_findings(words, first, lines, quoted):
    joined = CODE.sub(blank, GENERATED.sub(blank, "\n".join(lines)))
    for found in words.finditer(joined):
        line = first + joined.count("\n", 0, found.start())
        if line not in quoted:
            yield line, " ".join(found.group().lower().split())


def stems(text):
    separate = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text).replace("_", " ")
    return {re.sub(r"(ies|es|s|ed|ing|e)$", "", word) or word for word in re.findall(r"[a-z0-9]+", separate.lower())}


def item_below(lines, after):
    """The name and type of the item that a doc comment belongs to."""
    for line in lines[after:after + 6]:
        if line.strip() and not line.strip().startswith(("#[", "//", ")]")):
            return line.split("=")[0]
    return ""


def check_rust(name, text, words, findings, tally):
    rust = Rust(text)
    quoted = {number for number, line in enumerate(rust.lines, 1) if "style: quoted" in line}
    for first, marker, body in rust.blocks():
        tally["comment lines"] += len(body)
        prose = " ".join(body).strip()
        findings["listed words"] += [(name, *found) for found in word_findings(words, first, body, quoted)]
        if re.match(r"(What|Whether|Who|Where)\b", prose):
            findings["openers"].append((name, first, prose[:60]))
        below = next((line.strip() for line in rust.lines[first - 1 + len(body):] if line.strip()), "")
        # Help of the command line is a text for users.
        if marker == "//" or not prose or "```" in prose or re.match(r"#\[(arg|command|clap|group)\b", below):
            continue
        if len(prose.split()) <= 3:
            findings["short"].append((name, first, prose))
        if marker == "///" and len(body) == 1 and len(prose.split()) <= 8 and "`" not in prose:
            said = {stem for word in re.findall(r"\w+", prose) if word.lower() not in FILLER for stem in stems(word)}
            if said and said <= stems(item_below(rust.lines, first)):
                findings["repeats"].append((name, first, prose))
    for first, string in rust.texts:
        if not re.search(r"\s", string):
            continue
        findings["listed words"] += [(name, *found) for found in word_findings(words, first, string.split("\n"), quoted)]
    for function, first, last, is_test in rust.functions():
        findings["listed words"] += [(name, first, f"{found} (in the name {function})") for _, found in word_findings(words, first, [function.replace("_", " ")], quoted)]
        if not name.startswith("tests/"):
            tally["longest"] = max(tally["longest"], (last - first + 1, f"{name}:{first} {function}"))
        if is_test and name.startswith("tests/it/"):
            tally["test lines"] += sum(1 for line in rust.lines[first - 1:last] if line.strip())
    lines_of_code = sum(1 for line in rust.lines if line.strip())
    if name.startswith("tests/it/"):
        tally["lines of tests"] += lines_of_code
    if re.match(r"(crates/[^/]+/)?src/", name):
        tally["codes"][name] = rust.code
    if name.startswith(("src/", "crates/")):
        tally["lengths"].append(len(rust.lines))
        for kind in re.findall(r"^\s*pub (?:struct|enum|trait|type|union) (\w+)", rust.code, re.MULTILINE):
            # The sandbox models services that Panda has clients for: names are unique within one crate.
            tally["types"][name.split("src/")[0] + kind].append(name)
    if name.startswith("src/"):
        tally["codes"][name] = rust.code


def measure():
    words = listed_words()
    findings = {"listed words": [], "openers": [], "short": [], "repeats": []}
    tally = {"comment lines": 0, "longest": (0, ""), "test lines": 0, "lines of tests": 0, "lengths": [], "types": collections.defaultdict(list), "parameters": 0, "codes": {}}
    for name in tracked():
        try:
            text = Path(name).read_text()
        except UnicodeDecodeError:
            continue
        if name.startswith("src/db/commit/"):
            tally["parameters"] = max([tally["parameters"], *(int(n) for n in re.findall(r"\$(\d+)", text))])
        if name.endswith(".rs"):
            check_rust(name, text, words, findings, tally)
            continue
        quoted = {number for number, line in enumerate(text.splitlines(), 1) if "style: quoted" in line}
        for first, body in other_blocks(name, text):
            findings["listed words"] += [(name, *found) for found in word_findings(words, first, body, quoted)]
    twice = {kind: places for kind, places in tally["types"].items() if len(places) > 1}
    lengths = sorted(tally["lengths"])
    cycles = rust_imports.cycles(tally["codes"])
    measures = dict(zip(LIMITS, (
        len(findings["listed words"]),
        len(findings["repeats"]),
        round(1000 * len(findings["openers"]) / max(1, tally["comment lines"]), 1),
        len(findings["short"]),
        len(twice),
        tally["parameters"],
        tally["longest"][0],
        round(100 * (1 - tally["test lines"] / max(1, tally["lines of tests"]))),
        len(Path("README.md").read_text().splitlines()),
        len(cycles),
        round(statistics.median(lengths)),
        lengths[len(lengths) * 9 // 10],
    )))
    findings["twice"] = [(places[0], 0, f"{kind}: {', '.join(places)}") for kind, places in sorted(twice.items())]
    findings["cycles"] = [(group[0], 0, ", ".join(group)) for group in cycles]
    findings["longest"] = [(tally["longest"][1], 0, f"{tally['longest'][0]} lines")]
    return measures, findings


KINDS = {"listed words": "listed words", "doc comments that repeat a name": "repeats", "doc blocks of three words or fewer": "short",
         "comments opening with What/Whether/Who/Where, per 1,000 comment lines": "openers", "public type names used twice": "twice",
         "longest function (lines)": "longest", "import cycles": "cycles"}


def show(found):
    for name, line, text in sorted(found):
        print(f"  {name}:{line}: {text}" if line else f"  {name}: {text}")


def folders(findings):
    """Findings by folder, two levels deep."""
    kinds = ("listed words", "repeats", "openers", "short")
    table = collections.defaultdict(collections.Counter)
    for kind in kinds:
        for name, *_ in findings[kind]:
            parts = name.split("/")
            table["/".join(parts[:2]) if len(parts) > 2 else parts[0]][kind] += 1
    print(f"\n{'folder':32}" + "".join(f"{kind:>14}" for kind in kinds))
    for folder, counts in sorted(table.items()):
        print(f"{folder:32}" + "".join(f"{counts[kind]:>14}" for kind in kinds))


def main(arguments):
    measures, findings = measure()
    if arguments == ["--count"]:
        for measure_name, value in measures.items():
            limit = LIMITS[measure_name]
            print(f"{measure_name:75} {value:>8}" + ("" if limit is None else f"   limit {limit}"))
        folders(findings)
        return 0
    exceeded = [name for name, value in measures.items() if LIMITS[name] is not None and value > LIMITS[name]]
    for name in KINDS if arguments == ["--list"] else exceeded:
        print(f"{name}: {measures[name]}" + (f", at most {LIMITS[name]}" if name in exceeded else ""))
        show(findings.get(KINDS.get(name), []))
    if exceeded:
        print("language: the limits above are exceeded; docs/STYLE.md has the standard, scripts/language.py the limits", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
