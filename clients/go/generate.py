#!/usr/bin/env python3
"""Writes models.go and calls.go from ../openapi.json: generate.py GENERATOR GOFMT

GENERATOR is OpenAPI Generator's command (openapi-generator-cli), GOFMT that of Go. The generator's own templates for Go would make 68,000 lines; those in `templates` make
2,200, in two files, on the standard library alone.

Before that, the document is brought into the form of Go: responses without their envelope, whose `data` client.go returns, and absent for null.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ENVELOPE = "Envelope_"
# The client sets the language of errors for all calls.
GENERAL = {"lang", "Accept-Language", "Last-Event-ID", "traceparent", "ticket"}


def without_null(node):
    """Null is a nil pointer in Go, as is an absent member."""
    if isinstance(node, list):
        for item in node:
            without_null(item)
    if not isinstance(node, dict):
        return
    if {"type": "null"} in node.get("oneOf", []):
        (other,) = [item for item in node.pop("oneOf") if item != {"type": "null"}]
        node.update(other)
    if isinstance(node.get("type"), list):
        names = [name for name in node.pop("type") if name != "null"]
        # Several types are `any`.
        if len(names) == 1:
            node["type"] = names[0]
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    for value in node.values():
        without_null(value)


def may_be_null(schema):
    return isinstance(schema.get("type"), list) or {"type": "null"} in schema.get("oneOf", [])


def prepared(document):
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        members = schema.get("properties", {})
        schema["required"] = [name for name in schema.get("required", []) if not may_be_null(members[name])]
    # GitHub calls it, and no client does.
    del document["paths"]["/api/v1/hooks/github/{id}"]
    for item in document["paths"].values():
        for operation in item.values():
            success = operation["responses"]["200"]
            schema = success.get("content", {}).get("application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            if name.startswith(ENVELOPE):
                success["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name.removeprefix(ENVELOPE)}"}}}
            else:
                # Streams and texts: the caller reads the response.
                success.pop("content", None)
            operation["responses"] = {"200": success}
            parameters = operation.get("parameters", [])
            operation["parameters"] = [one for one in parameters if one["name"] not in GENERAL or (one["name"] == "lang" and "content" not in success)]
            operation["x-options"] = any(not one.get("required") for one in operation["parameters"])
    for name in [name for name in schemas if name.startswith(ENVELOPE)]:
        del schemas[name]
    without_null(document)
    return document


def main():
    generator, gofmt = sys.argv[1:]
    document = prepared(json.loads((HERE.parent / "openapi.json").read_text()))
    with tempfile.TemporaryDirectory() as folder:
        source, made = pathlib.Path(folder, "openapi.json"), pathlib.Path(folder, "made")
        source.write_text(json.dumps(document))
        command = [generator, "generate", "--input-spec", source, "--generator-name", "go", "--output", made, "--template-dir", HERE / "templates", "--config", HERE / "templates/config.yaml"]
        command += ["--global-property", "models,apis,supportingFiles=models.go:calls.go", "--additional-properties", "packageName=panda"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        for name in ["models.go", "calls.go"]:
            # The generator's sections leave empty lines.
            written = re.sub(r"\n\s*\n(?=\t)", "\n", (made / name).read_text())
            text = subprocess.run([gofmt], input=written, capture_output=True, text=True)
            if text.returncode != 0:
                sys.exit(f"{name}: {text.stderr}")
            (HERE / name).write_text(text.stdout)


main()
