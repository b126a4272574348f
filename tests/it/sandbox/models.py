#!/usr/bin/env python3
"""Calls every operation that the sandbox offers, and checks each raw answer against botocore's model of the service.

botocore's own parser ignores what it does not know, so this walks the answer by the operation's output shape, and an error by its error shape.
Reads its settings as JSON from standard input; prints one line a deviation, then a summary, and exits with 1 if there are deviations.
"""
import base64
import datetime
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
import xml.etree.ElementTree as xml

import botocore.session
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import create_serializer

from models_calls import calls

# Name in botocore, name in IAM, and in the credential's scope.
SERVICES = {"sts": "sts", "iam": "iam", "events": "events", "ecr": "ecr", "secretsmanager": "secretsmanager", "stepfunctions": "states",
            "codedeploy": "codedeploy", "ecs": "ecs", "sqs": "sqs", "elbv2": "elasticloadbalancing", "cloudwatch": "cloudwatch"}
# Errors of any call, which no model lists: https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, and the same page of the
# other services; the JSON protocols spell most of them with `Exception`.
COMMON = {"query": {"AccessDenied", "ExpiredToken", "IncompleteSignature", "InternalFailure", "InvalidAction", "InvalidClientTokenId",
                    "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "RequestExpired", "ServiceUnavailable",
                    "SignatureDoesNotMatch", "Throttling", "ValidationError"},
          "json": {"AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InternalFailure", "InvalidSignatureException",
                   "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired", "RequestExpired", "SerializationException",
                   "ServiceUnavailable", "ThrottlingException", "UnknownOperationException", "UnrecognizedClientException",
                   "ValidationException"}}
# CloudWatch spells errors as the JSON protocols do, with an exception of the Query protocol.
COMMON["cbor"] = COMMON["json"] | {"ValidationError"}
NOT_OFFERED = {"UnknownOperationException", "InvalidAction"}


class Checker:
    """Makes calls, and collects the deviations of their answers."""

    def __init__(self, settings):
        self.settings = settings
        self.found = []
        self.succeeded = set()
        self.offered = []
        session = botocore.session.get_session()
        self.models = {name: session.get_service_model(name) for name in SERVICES}

    def protocol(self, service):
        if service == "cloudwatch":
            return "cbor"
        return "query" if self.models[service].protocol == "query" else "json"

    def send(self, who, service, operation, params):
        """Sends a call; returns status, headers and body."""
        model = self.models[service].operation_model(operation)
        protocol = self.protocol(service)
        format = "smithy-rpc-v2-cbor" if protocol == "cbor" else protocol
        request = create_serializer(format, include_validation=False).serialize_to_request(params, model)
        path = request["url_path"] if protocol == "cbor" else ""
        body = request["body"]
        if isinstance(body, dict):
            body = urllib.parse.urlencode(body)
        headers = dict(request["headers"])
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        key = self.settings[who]
        region = self.settings["region"]
        scope = f"{key}/20260101/{region}/{SERVICES[service]}/aws4_request"
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
        data = body if isinstance(body, bytes) else body.encode()
        request = urllib.request.Request(self.settings["endpoint"].rstrip("/") + (path or "/"), data=data, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def call(self, who, service, operation, params, expected=None):
        """Makes a call and checks its answer, if the sandbox offers the operation. Returns the answer."""
        at = f"{service}.{operation}"
        if (service, operation) not in self.offered:
            return {}
        status, headers, body = self.send(who, service, operation, params)
        model = self.models[service].operation_model(operation)
        self.headers(at, service, headers)
        code, answer = self.decode(at, service, model, status, body)
        if code != expected:
            self.found.append(f"{at} {json.dumps(params)[:200]}: answered {code or 'success'}, expected {expected or 'success'}: {body[:300]}")
        if code is None:
            self.succeeded.add((service, operation))
        else:
            self.error(at, service, model, status, code, answer)
        return answer

    def headers(self, at, service, headers):
        version = self.models[service].metadata.get("jsonVersion")
        wanted = {"query": "text/xml", "cbor": "application/cbor"}.get(self.protocol(service), f"application/x-amz-json-{version}")
        if self.protocol(service) == "cbor" and headers.get("smithy-protocol") != "rpc-v2-cbor":
            self.found.append(f"{at}: header smithy-protocol is {headers.get('smithy-protocol')}")
        if headers.get("Content-Type") != wanted:
            self.found.append(f"{at}: Content-Type {headers.get('Content-Type')}, expected {wanted}")
        try:
            uuid.UUID(headers.get("x-amzn-requestid", ""))
        except ValueError:
            self.found.append(f"{at}: header x-amzn-requestid is {headers.get('x-amzn-requestid')}")

    def decode(self, at, service, model, status, body):
        """Returns the code of an error, and the answer; checks a success against the output shape."""
        if self.protocol(service) == "query":
            return self.decode_xml(at, service, model, status, body)
        try:
            answer = self.parse(service, body)
        except ValueError:
            self.found.append(f"{at}: the body is not JSON: {body[:200]}")
            return None, {}
        if status == 200:
            if model.output_shape is None:
                if answer:
                    self.found.append(f"{at}: the model has no output, the answer is {answer}")
            else:
                self.walk(model.output_shape, answer, at)
            return None, answer
        return str(answer.pop("__type", "no __type")).rsplit("#", 1)[-1], answer

    def parse(self, service, body):
        if self.protocol(service) != "cbor":
            return json.loads(body) if body else {}
        parser = RpcV2CBORParser()
        return parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))

    def decode_xml(self, at, service, model, status, body):
        namespace = self.models[service].metadata["xmlNamespace"]
        root = xml.fromstring(body)
        plain = lambda element: element.tag.removeprefix("{" + namespace + "}")
        if not root.tag.startswith("{" + namespace + "}"):
            self.found.append(f"{at}: namespace of {root.tag}, expected {namespace}")
        children = {plain(child): child for child in root}
        if status != 200:
            fields = {plain(child): child.text for child in children.get("Error", [])}
            if plain(root) != "ErrorResponse" or "RequestId" not in children or set(fields) - {"Type", "Code", "Message"}:
                self.found.append(f"{at}: not an ErrorResponse with Error and RequestId: {body[:300]}")
            if fields.get("Type") != ("Receiver" if status >= 500 else "Sender"):
                self.found.append(f"{at}: Type {fields.get('Type')} with status {status}")
            return fields.get("Code", "no Code"), {"message": fields.get("Message")}
        metadata = [plain(child) for child in children.pop("ResponseMetadata", [])]
        if plain(root) != f"{model.name}Response" or metadata != ["RequestId"]:
            self.found.append(f"{at}: not a {model.name}Response with ResponseMetadata: {body[:300]}")
        shape = model.output_shape
        wrapper = shape.serialization.get("resultWrapper") if shape else None
        for name in set(children) - {wrapper}:
            self.found.append(f"{at}: unknown element {name}")
        if wrapper and wrapper not in children:
            self.found.append(f"{at}: no {wrapper}")
        answer = read_xml(shape, children[wrapper], namespace) if wrapper in children else {}
        if shape:
            self.walk(shape, answer, at)
        return None, answer

    def error(self, at, service, model, status, code, answer):
        """Checks that the model lists the error for this operation, with this status and these members."""
        for shape in model.error_shapes:
            error = shape.metadata.get("error", {})
            if code not in (shape.name, error.get("code")):
                continue
            wanted = error.get("httpStatusCode") or (500 if shape.metadata.get("fault") else 400)
            if status != wanted and self.protocol(service) == "query" or status // 100 != wanted // 100:
                self.found.append(f"{at}: {code} with status {status}, expected {wanted}")
            if self.protocol(service) != "query":
                # CodeDeploy's models omit the message of every error.
                self.walk(shape, {k: v for k, v in answer.items() if k != "message" or shape.members}, f"{at} {code}")
            break
        else:
            if code not in COMMON[self.protocol(service)]:
                listed = sorted(shape.name for shape in model.error_shapes)
                self.found.append(f"{at}: error {code} is not one of {listed}")
        if not (answer.get("message") or answer.get("Message")):
            self.found.append(f"{at}: error {code} has no message")

    def walk(self, shape, value, at):
        """Checks a value against its shape."""
        kind = shape.type_name
        wrong = lambda: self.found.append(f"{at}: {json.dumps(value)[:200]} is not a {kind}")
        if value is None:
            self.found.append(f"{at}: null")
        elif kind == "structure":
            if not isinstance(value, dict):
                return wrong()
            members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
            for name in sorted(set(value) - set(members)):
                self.found.append(f"{at}: unknown member {name}")
            for name in shape.required_members:
                if shape.members[name].serialization.get("name", name) not in value:
                    self.found.append(f"{at}: required member {name} is missing")
            for name in set(value) & set(members):
                self.walk(members[name], value[name], f"{at}.{name}")
        elif kind == "list":
            if not isinstance(value, list):
                return wrong()
            for index, item in enumerate(value):
                self.walk(shape.member, item, f"{at}[{index}]")
        elif kind == "map":
            if not isinstance(value, dict):
                return wrong()
            for key, item in value.items():
                self.walk(shape.key, key, f"{at} key")
                self.walk(shape.value, item, f"{at}.{key}")
        else:
            self.scalar(shape, kind, value, at, wrong)

    def scalar(self, shape, kind, value, at, wrong):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind in ("string", "character"):
            if not isinstance(value, str):
                return wrong()
            limits = shape.metadata
            if limits.get("enum") and value not in limits["enum"]:
                self.found.append(f"{at}: {value} is not one of {limits['enum']}")
            if not limits.get("min", 0) <= len(value) <= limits.get("max", len(value)):
                self.found.append(f"{at}: {len(value)} characters, expected {limits.get('min')} to {limits.get('max')}")
            if limits.get("pattern") and not re.fullmatch(limits["pattern"], value, re.DOTALL):
                self.found.append(f"{at}: {value[:100]} does not match {limits['pattern']}")
        elif kind == "timestamp":
            # Seconds since 1970 in JSON, ISO 8601 in XML; a value in milliseconds would be far in the future.
            if isinstance(value, datetime.datetime):
                return None
            if not number or not 1_000_000_000 < value < 10_000_000_000:
                return wrong()
        elif kind in ("integer", "long"):
            if not number or value != int(value):
                return wrong()
        elif kind in ("float", "double"):
            if not number:
                return wrong()
        elif kind == "boolean":
            if not isinstance(value, bool):
                return wrong()
        elif kind == "blob":
            try:
                base64.b64decode(value, validate=True)
            except (TypeError, ValueError):
                return wrong()
        return None

    def discover(self):
        """Asks for every operation of every model without input, and notes those that the sandbox knows."""
        for service, model in self.models.items():
            for operation in model.operation_names:
                status, _, body = self.send("user", service, operation, {})
                if status == 200 or not any(code.encode() in body for code in NOT_OFFERED):
                    self.offered.append((service, operation))

    def inject(self, faults):
        """Replaces the faults of the sandbox."""
        request = urllib.request.Request(self.settings["control"] + "faults", data=json.dumps(faults).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=30).close()


def read_xml(shape, element, namespace):
    """Reads an element by its shape; members that the shape does not have stay as text."""
    kind = shape.type_name
    if kind == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        names = [child.tag.removeprefix("{" + namespace + "}") for child in element]
        return {name: read_xml(members[name], child, namespace) if name in members else child.text for name, child in zip(names, element)}
    if kind == "list":
        return [read_xml(shape.member, child, namespace) for child in element]
    text = element.text or ""
    if kind in ("integer", "long"):
        return int(text) if re.fullmatch(r"-?\d+", text) else text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "timestamp":
        try:
            return datetime.datetime.strptime(text.split(".")[0].removesuffix("Z"), "%Y-%m-%dT%H:%M:%S")
        except ValueError:
            return text
    return text


def main():
    settings = json.load(sys.stdin)
    checker = Checker(settings)
    checker.discover()
    offered = checker.offered
    calls(checker, settings)
    for service, operation in sorted(set(offered) - checker.succeeded):
        checker.found.append(f"{service}.{operation}: offered, and never called with success: add a call to models_calls.py")
    # What every call answers to every caller.
    for service, operation in offered:
        query = checker.protocol(service) == "query"
        name = f"{SERVICES[service]}:{operation}"
        for fault, code in (({"deny": True}, "AccessDenied" if query else "AccessDeniedException"),
                            ({"throttle": 1}, "Throttling" if query else "ThrottlingException"),
                            ({"fail": 1}, "InternalFailure")):
            checker.inject({"calls": {name: fault}})
            checker.call("user", service, operation, {}, code)
        checker.inject({})
        checker.call("stranger", service, operation, {}, "InvalidClientTokenId" if query else "UnrecognizedClientException")
        shape = checker.models[service].operation_model(operation).input_shape
        if shape and shape.required_members and service != "codedeploy":
            code = {"ecr": "InvalidParameterException", "sts": "ValidationError", "iam": "ValidationError", "elbv2": "ValidationError"}
            checker.call("user", service, operation, {}, code.get(service, "ValidationException"))
    for line in checker.found:
        print(line)
    print(f"{len(offered)} operations, {len(checker.found)} deviations")
    sys.exit(1 if checker.found else 0)


if __name__ == "__main__":
    main()
