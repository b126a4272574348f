#!/usr/bin/env python3
"""Checks commands of documents that cannot run here: `aws` against botocore's models, `kubectl` against the forms that the documents may use.

Reads a JSON list of {place, text} from standard input, and prints {commands: [{place, words}], counts} with each `panda` and `helm` command, which the
caller checks. Exits
with 1, and the findings on standard error, when a command is wrong.
"""

import json
import re
import sys
from pathlib import Path

import botocore.session
from botocore import xform_name

OPERATORS = {"|", ";", "&", "(", ")", "{", "}", "do", "done", "then", "fi", "!", "if", "else", "until", "while"}
# Commands of the AWS CLI that are not operations of an API.
CUSTOM = {"cloudformation deploy": {"stack-name", "template-file", "capabilities", "parameter-overrides"}, "ecr get-login-password": set()}
GLOBAL_AWS = {"region", "profile", "output", "query"}
KUBECTL = {
    "create": {"from-literal", "from-file", "dry-run", "o"},
    "apply": {"f"},
    "get": {"sort-by", "o", "l", "w"},
    "describe": {"l"},
    "logs": {"l", "prefix", "all-containers", "tail", "c", "f", "since"},
    "scale": {"replicas"},
    "rollout": {"timeout"},
    "label": set(),
    "top": {"l"},
    "drain": {"ignore-daemonsets", "delete-emptydir-data"},
    "run": {"rm", "it", "image"},
    "port-forward": set(),
    "annotate": {"overwrite"},
}
SELECTOR = re.compile(r"^app\.kubernetes\.io/instance=panda(,app\.kubernetes\.io/component=(server|migrate))?$")
SESSION = botocore.session.get_session()


def without_heredocs(text):
    kept, end = [], None
    for line in text.splitlines():
        if end is not None:
            if line.strip() == end:
                end = None
            continue
        found = re.search(r"<<-?\s*'?(\w+)'?", line)
        if found:
            end = found.group(1)
            line = line[: found.start()] + line[found.end() :]
        kept.append(line)
    return "\n".join(kept)


def tokens(text):
    """Words without their quotes, and the shell's operators; comments are left out, and a newline is the operator `;`."""
    word, at = None, 0
    while at < len(text):
        char = text[at]
        if char in "'\"":
            end = text.index(char, at + 1)
            while char == '"' and text[end - 1] == "\\":
                end = text.index(char, end + 1)
            word, at = (word or "") + text[at + 1 : end], end
        elif char == "\\":
            word, at = (word or "") + text[at + 1 : at + 2], at + 1
        elif char == "#" and word is None:
            at = text.find("\n", at)
            if at < 0:
                break
            continue
        elif char in " \t\n|&;(){}<>" and not (char in "{}" and word):
            # Digits right before a redirection are a file descriptor.
            if word is not None and not (char in "<>" and word.isdigit()):
                yield word
            word = None
            if char not in " \t":
                yield ";" if char == "\n" else char
        else:
            word = (word or "") + char
        at += 1
    if word is not None:
        yield word


def commands(text):
    """Words of each command. What stands in `$(…)` is a command too, and a placeholder where it stands."""
    text = without_heredocs(text).replace("\\\n", " ")
    # Innermost substitutions first, also those within quotes.
    while inner := re.search(r"\$\(([^()]*)\)", text):
        yield from commands(inner.group(1))
        text = text[: inner.start()] + "…" + text[inner.end() :]
    words = []
    for token in tokens(text):
        if token in OPERATORS:
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def flags(words):
    """Options, and what is none of them; values of options count as what follows."""
    return [word.lstrip("-").split("=")[0] for word in words if re.match(r"^--?[a-zA-Z]", word)]


def check_aws(words):
    service, operation = words[1], words[2]
    given = flags(words[3:])
    if f"{service} {operation}" in CUSTOM:
        wrong = [flag for flag in given if flag not in CUSTOM[f"{service} {operation}"] | GLOBAL_AWS]
        if "template-file" in given:
            template = Path(words[words.index("--template-file") + 1])
            declared = template.read_text(encoding="utf-8")
            at = words.index("--parameter-overrides") + 1 if "--parameter-overrides" in words else len(words)
            for parameter in words[at:]:
                name = parameter.split("=")[0]
                if not re.search(rf"^  {name}:$", declared, re.MULTILINE):
                    wrong.append(f"parameter {name} of {template}")
        return wrong
    if service not in SESSION.get_available_services():
        return [f"the service {service}"]
    model = SESSION.get_service_model(service)
    known = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in known:
        return [f"the operation {operation}"]
    shape = model.operation_model(known[operation]).input_shape
    members = {xform_name(name, "-") for name in (shape.members if shape else {})}
    required = {xform_name(name, "-") for name in (shape.required_members if shape else [])}
    positive = [flag[3:] if flag.startswith("no-") else flag for flag in given]
    if "cli-input-json" in positive:
        # A file of the tree has the members, spelled as in the model.
        file = words[words.index("--cli-input-json") + 1].removeprefix("file://")
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        positive = [flag for flag in positive if flag != "cli-input-json"]
        positive += [xform_name(name, "-") for name in content]
    return [flag for flag in positive if flag not in members | GLOBAL_AWS] + [f"--{name} is missing" for name in required - set(positive)]


def check_kubectl(words):
    words = words[1:]
    wrong = []
    if words[:2] == ["-n", "panda"]:
        words = words[2:]
    elif words[0] not in ("create", "label", "drain"):
        wrong.append("the namespace is missing")
    verb, rest = words[0], words[1:]
    if verb not in KUBECTL:
        return wrong + [f"the verb {verb}"]
    if "--" in rest:
        rest = rest[: rest.index("--")]
    wrong += [f"--{flag}" for flag in flags(rest) if flag not in KUBECTL[verb]]
    for name, value in zip(rest, rest[1:]):
        if name == "-l" and not SELECTOR.match(value):
            wrong.append(f"the selector {value}")
    wrong += [word for word in rest if word.startswith(("deployment/", "job/", "pod/")) and word not in ("deployment/panda", "job/panda-migrate")]
    return wrong


def main():
    found, wrong = [], []
    counts = {"aws": 0, "kubectl": 0}
    for block in json.load(sys.stdin):
        try:
            all_words = list(commands(block["text"]))
        except ValueError as error:
            wrong.append(f"{block['place']}: {error}: {block['text']}")
            continue
        for words in all_words:
            while words and re.match(r"^[A-Za-z_][A-Za-z0-9_]*=", words[0]):
                words = words[1:]
            while words and words[0] in ("sudo", "exec", "export", "time"):
                words = words[1:]
            if not words:
                continue
            problems = []
            if words[0] == "aws" and len(words) > 2:
                counts["aws"] += 1
                problems = check_aws(words)
            elif words[0] == "kubectl" and len(words) > 1:
                counts["kubectl"] += 1
                problems = check_kubectl(words)
            elif words[0] in ("panda", "helm"):
                found.append({"place": block["place"], "words": words})
            wrong += [f"{block['place']}: {' '.join(words)}: {problem}" for problem in problems]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"commands": found, "counts": counts}))


if __name__ == "__main__":
    main()
