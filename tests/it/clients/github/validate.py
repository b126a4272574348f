"""Checks exchanges with GitHub's API against an OpenAPI description: `validate.py DESCRIPTION`, exchanges as JSON on standard input, findings on
standard output. Runs in the environment of moto, which has the validator. Refusals need the schemas of their status where GitHub describes one."""

import json
import re
import sys
from urllib.parse import parse_qsl, quote, urlsplit

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

description = json.load(open(sys.argv[1], encoding="utf-8"))
registry = Registry().with_resource("urn:github", Resource.from_contents(description, default_specification=DRAFT4))


def findings(path, value, where):
    """Findings by the schema at a path of the description, below which its references are resolved."""
    pointer = "".join("/" + quote(step.replace("~", "~0").replace("/", "~1"), safe="") for step in path)
    validator = OAS30Validator({"$ref": f"urn:github#{pointer}"}, registry=registry, format_checker=OAS30Validator.FORMAT_CHECKER)
    return [f"{where}: {list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(value)]


def operation(method, path):
    for template, methods in description["paths"].items():
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", template)
        if re.fullmatch(pattern, path):
            return ["paths", template, method.lower()]
    return None


def resolved(parameter):
    if "$ref" in parameter:
        return description["components"]["parameters"][parameter["$ref"].rsplit("/", 1)[-1]]
    return parameter


def check(exchange):
    url = urlsplit(exchange["target"])
    where = f"{exchange['method']} {url.path}"
    at = operation(exchange["method"], url.path.removeprefix("/api/v3"))
    found = at and description["paths"][at[1]].get(at[2])
    if not found:
        return [f"{where}: GitHub has no such call"]
    out = []
    known = {parameter["name"] for parameter in map(resolved, found["parameters"]) if parameter["in"] == "query"}
    out += [f"{where}: unknown parameter {name}" for name, _ in parse_qsl(url.query) if name not in known]
    if "requestBody" in found:
        body = ["requestBody", "content", "application/json", "schema"]
        schema = found["requestBody"]["content"]["application/json"]["schema"]
        out += findings(at + body, exchange["request"], f"{where} request")
        # GitHub ignores unknown members: a misspelt one would have no effect.
        out += [f"{where}: unknown member {name}" for name in exchange["request"] if name not in schema["properties"]]
    status = str(exchange["status"])
    answer = found["responses"].get(status)
    if answer is None:
        return out + [f"{where}: status {status} is not described"]
    at = at + ["responses", status]
    if "$ref" in answer:
        at = ["components", "responses", answer["$ref"].rsplit("/", 1)[-1]]
        answer = description["components"]["responses"][at[-1]]
    content = answer.get("content", {})
    return out + (findings(at + ["content", "application/json", "schema"], exchange["answer"], f"{where} answer") if content else [])


json.dump([finding for exchange in json.load(sys.stdin) for finding in check(exchange)], sys.stdout)
