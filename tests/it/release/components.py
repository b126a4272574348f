"""Validates a list of components against the published schema of CycloneDX: components.py FILE"""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1], encoding="utf-8") as file:
    problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(file.read())
sys.exit(str(problem)[:1000] if problem else 0)
