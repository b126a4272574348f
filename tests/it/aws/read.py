"""Answers the tests in this folder, in the environment of the chart's tools: `read.py REQUEST`, JSON on standard input and output.

templates   the IAM statements of the templates, by file, as {sid or number, actions, resources}
terraform   the types and names of the resources in a folder of Terraform, by python-hcl2
actions     for actions of IAM: whether each is known, and whether AWS has resources for it (service authorization reference)
definition  the state machine in a template
valid       checks a document against a JSON schema
"""

import json
import pathlib
import sys

import hcl2
import jsonschema
import yaml
from policy_sentry.querying.actions import get_action_data


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, as `{name: value}`."""


def short_form(loader, suffix, node):
    kinds = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: lambda n: loader.construct_sequence(n, deep=True)}
    return {suffix: kinds.get(type(node), lambda n: loader.construct_mapping(n, deep=True))(node)}


Loader.add_multi_constructor("!", short_form)


def listed(value):
    return value if isinstance(value, list) else [value]


def policies(value):
    """Policy documents anywhere below `value`."""
    if isinstance(value, dict):
        if "Statement" in value and "Version" in value:
            yield from listed(value["Statement"])
        for inner in value.values():
            yield from policies(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from policies(inner)


def cloudformation(path):
    template = yaml.load(pathlib.Path(path).read_text(), Loader)
    found = []
    for name, resource in template["Resources"].items():
        for statement in policies(resource["Properties"]):
            if "Resource" in statement:
                resources = [r if isinstance(r, str) else next(iter(r.values())) for r in listed(statement["Resource"])]
                found.append({"in": name, "sid": statement.get("Sid"), "actions": listed(statement["Action"]), "resources": resources})
    return found


def terraform_files(folder):
    for path in sorted(pathlib.Path(folder).glob("*.tf")):
        yield hcl2.loads(path.read_text())


def terraform(folder):
    found = []
    for file in terraform_files(folder):
        for data in file.get("data", []):
            for name, document in data.get("aws_iam_policy_document", {}).items():
                statements = document.get("statement", [])
                for dynamic in document.get("dynamic", []):
                    statements += [content for one in dynamic.values() for content in one["content"]]
                for statement in statements:
                    plain = {key: value[0] if key != "principals" else value for key, value in statement.items()}
                    if "resources" in plain:
                        actions = plain["actions"]
                        found.append({"in": name, "sid": plain.get("sid"), "actions": actions, "resources": listed(plain["resources"])})
    return found


def resources(folder):
    return sorted(f"{kind}.{name}" for file in terraform_files(folder) for block in file.get("resource", []) for kind in block for name in block[kind])


def known(action):
    service, name = action.split(":")
    data = get_action_data(service, name)
    formats = [row["resource_arn_format"] for row in data[service]] if data else []
    return {"known": bool(data), "has_resources": any(form != "*" for form in formats)}


request = json.load(sys.stdin)
kind = sys.argv[1]
if kind == "templates":
    answer = {path: terraform(path) if pathlib.Path(path).is_dir() else cloudformation(path) for path in request}
elif kind == "terraform":
    answer = {path: resources(path) for path in request}
elif kind == "definition":
    answer = yaml.load(pathlib.Path(request).read_text(), Loader)["Resources"]["Pipeline"]["Properties"]["DefinitionString"]
elif kind == "actions":
    answer = {action: known(action) for action in request}
else:
    validator = jsonschema.Draft202012Validator(request["schema"])
    answer = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(request["value"])]
json.dump(answer, sys.stdout)
