"""Validates a task definition as the AWS CLI does before it calls RegisterTaskDefinition: task_definition.py FILE"""

import json
import sys

import botocore.session
from botocore.validate import ParamValidator

shape = botocore.session.get_session().get_service_model('ecs').operation_model('RegisterTaskDefinition').input_shape
report = ParamValidator().validate(json.load(open(sys.argv[1])), shape)


def enums(shape, value, path):
    if shape.type_name == 'structure':
        for name, member in value.items():
            enums(shape.members[name], member, f'{path}.{name}')
    elif shape.type_name == 'list':
        for member in value:
            enums(shape.member, member, path)
    elif getattr(shape, 'enum', None) and value not in shape.enum:
        sys.exit(f'{path}: {value} is none of {shape.enum}')


enums(shape, json.load(open(sys.argv[1])), 'task')
sys.exit(report.generate_report() if report.has_errors() else 0)
