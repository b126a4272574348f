"""Counts import cycles between the modules of each crate: groups of files or folders that import each other, parents and children aside.

Only for `scripts/language.py --count`. The check is `tests/it/layers`, which reads the syntax.
"""

import re


def module_of(name):
    parts = name.removesuffix(".rs").split("/")
    return tuple(parts[:-1] if parts[-1] in ("mod", "lib") else parts)


def expand(tree):
    """The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    group = re.fullmatch(r"(.*?)\{(.*)\}", tree.strip(), re.DOTALL)
    if not group:
        return [tree.split(" as ")[0].strip()]
    paths, depth, part = [], 0, ""
    for character in group[2] + ",":
        if character == "," and depth == 0:
            paths += [group[1].strip() + path for path in expand(part) if part.strip()]
            part = ""
        else:
            depth += (character == "{") - (character == "}")
            part += character
    return paths


def imported(crate, module, code, modules):
    """The modules that a module's code names, without its ancestors and descendants. `crate` is the folder of its source."""
    code = code.split("#[cfg(test)]")[0]
    trees = re.findall(r"\buse\s+([^;]+);", code)
    paths = [path for tree in trees for path in expand(re.sub(r"\s+", " ", tree))]
    paths += re.findall(r"\b((?:crate|super)(?:::\w+)+)", re.sub(r"\buse\s+[^;]+;", "", code))
    for path in paths:
        segments = [segment.strip() for segment in path.split("::")]
        base = list(module)
        while segments and segments[0] in ("crate", "self", "super"):
            base = {"crate": list(crate), "self": base, "super": base[:-1]}[segments.pop(0)]
        target = (*base, *segments)
        found = next((target[:length] for length in range(len(target), 0, -1) if target[:length] in modules), None)
        related = found is None or found == module[:len(found)] or module == found[:len(module)]
        if path.startswith(("crate", "self", "super")) and not related:
            yield found


def cycles(codes):
    """Groups of siblings (files or folders of one folder) that import each other, from {file: code}. A folder is one module for its siblings."""
    modules = {module_of(name): code for name, code in codes.items()}
    edges = {}
    for module, code in modules.items():
        for other in imported(module[:module.index("src") + 1], module, code, modules):
            # An error module may name the error modules of the areas that it joins.
            if "error" in module and other[-1] == "error":
                continue
            common = next(at for at, (mine, its) in enumerate(zip(module, other)) if mine != its)
            edges.setdefault(module[:common + 1], set()).add(other[:common + 1])
    reach = {module: closure(module, edges) for module in edges}
    groups = {frozenset(other for other in reach[module] if module in reach.get(other, ())) for module in edges if module in reach[module]}
    return sorted(sorted("/".join(module) for module in group) for group in groups)


def closure(start, edges):
    reached, waiting = set(), list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += edges.get(module, ())
    return reached
