"""Python side of the chart's tests: the Helm 4 engine, YAML, Kubernetes' schemas. One JSON request on stdin, one JSON answer on stdout."""

import functools
import json
import sys

import yaml


class Strict(yaml.SafeLoader):
    """Refuses an object with a key twice, of which Kubernetes would take one."""


def members(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"{node.start_mark}: twice: {twice}")
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, members)


def documents(text):
    return [document for document in yaml.load_all(text, Strict) if document]


def values(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file) or {}


def over(above, below):
    """Merges `above` over `below`, as Helm merges two files of values."""
    both = isinstance(above, dict) and isinstance(below, dict)
    return {**below, **{key: over(value, below.get(key)) for key, value in above.items()}} if both else above


def render(chart, values_files, below=None, **options):
    """The manifests of each values file (over the one named `below`) under Helm 4, by template; or Helm's error."""
    import helm_python as helm

    answers = []
    with helm.Chart.load(chart) as loaded:
        for path in values_files:
            given = over(values(path), values(below) if below else {})
            try:
                loaded.validate_schema(given)
                rendered = loaded.render(given, name="panda", namespace="panda", **options)
                answers.append({"manifests": rendered})
            except helm.HelmError as error:
                answers.append({"error": str(error)})
    return answers


def lint(chart, values_files):
    import helm_python as helm

    return [helm.lint(chart, values(path), strict=True, kube_version="v1.30.0") for path in values_files]


def package(chart, destination):
    import helm_python as helm

    return helm.package(chart, destination=destination)


def validate(texts, versions, foreign):
    """Errors of `kubernetes-validate --strict`. Schemas are cached: it would read a megabyte of them for each object."""
    from kubernetes_validate import utils

    utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)
    complaints, checked = [], 0
    for text in texts:
        for document in documents(text):
            if document["apiVersion"] in foreign:
                continue
            for version in versions:
                try:
                    used = utils.validate(document, version, strict=True)
                    checked += 1
                    if used != version:
                        complaints.append(f"there are no schemas of {version}: {used} was used")
                except Exception as error:
                    where = ".".join(str(part) for part in getattr(error, "path", ()))
                    name = document.get("metadata", {}).get("name")
                    complaints.append(f"{version} {document['kind']}/{name} {where}: {getattr(error, 'message', error)}")
    return {"checked": checked, "complaints": complaints}


def main():
    request = json.load(sys.stdin)
    operation = request.pop("do")
    known = {
        "documents": lambda texts: [documents(text) for text in texts],
        "values": lambda paths: [values(path) for path in paths],
        "render": render,
        "lint": lint,
        "package": package,
        "validate": validate,
    }
    json.dump(known[operation](**request), sys.stdout)


main()
