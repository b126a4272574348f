"""Completes the AWS SDK integrations of moto's Step Functions, which `Moto::start` loads by PYTHONPATH.

- moto has the conversion of parameters and results between PascalCase and the services' own spelling, and does not call it.
- It ignores `Credentials`: here the role is assumed, so that a task acts in the role's account.
- A path such as `$.a[0].b` is one value in AWS and a list in moto; `$.a[*].b.c` is a list in AWS, and in moto one value if there is one.
- Its ECS has no service deployments. Here the newest update of a service whose controller is ECS is one that waits at its PAUSE hook.
- A deployment of its CodeDeploy has a UUID for its id, and stays `Created`. Here its id begins with `d-`, and it is `Ready` from the second time that
  it is asked for.
"""

import copy
import sys

import boto3

from moto.codedeploy.models import CodeDeployBackend
from moto.settings import moto_server_port
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk as aws_sdk
from moto.stepfunctions.parser.asl.utils import json_path


def client_for(service, region, state_credentials):
    endpoint = f"http://localhost:{moto_server_port()}"
    role = getattr(state_credentials, "role_arn", None)
    keys = {"aws_access_key_id": "controller", "aws_secret_access_key": "x"}
    if role:
        sts = boto3.client("sts", region_name=region, endpoint_url=endpoint, **keys)
        found = sts.assume_role(RoleArn=role, RoleSessionName="state-machine")["Credentials"]
        keys = {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }
    return boto3.client(service, region_name=region, endpoint_url=endpoint, **keys)


def eval_service_task(self, env, resource_runtime_part, normalised_parameters, state_credentials):
    client = client_for(self._get_boto_service_name(), resource_runtime_part.region, state_credentials)
    action = self._get_boto_service_action()
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[action])
    self._to_boto_request(normalised_parameters, model.input_shape)
    response = of_service_deployments(action, normalised_parameters) or getattr(client, action)(**normalised_parameters)
    response.pop("ResponseMetadata", None)
    note_service(action, response)
    self._from_boto_response(response, model.output_shape)
    env.stack.append(response)


# Services by name, with the ARN of their newest revision once they were updated.
services = {}


def note_service(action, response):
    """Gives a service of ECS its hook, and remembers an update."""
    for service in response.get("services", []):
        if service.get("deploymentController", {}).get("type") == "ECS":
            service["deploymentConfiguration"] = {"lifecycleHooks": [{"targetType": "PAUSE"}]}
    if action == "update_service":
        # Copied: the response is converted in place.
        service = copy.deepcopy(response["service"])
        services[service["serviceArn"].split("/")[-1]] = service


def of_service_deployments(action, parameters):
    """Answers the calls about service deployments and revisions; nothing for others."""
    if action not in ("list_service_deployments", "describe_service_deployments", "describe_service_revisions"):
        return None
    name = parameters.get("service") or [*parameters.get("serviceDeploymentArns", []), *parameters.get("serviceRevisionArns", [])][0].split("/")[2]
    service = services.get(name)
    if not service:
        return {"serviceDeployments": []}
    deployment, revision = (service["serviceArn"].replace(":service/", f":{kind}/") + "/1" for kind in ("service-deployment", "service-revision"))
    balancer = copy.deepcopy(service["loadBalancers"][0])
    green = balancer["advancedConfiguration"]["alternateTargetGroupArn"]
    return {
        "list_service_deployments": {"serviceDeployments": [{"serviceDeploymentArn": deployment, "targetServiceRevisionArn": revision}]},
        "describe_service_deployments": {
            "serviceDeployments": [
                {
                    "serviceDeploymentArn": deployment,
                    "status": "IN_PROGRESS",
                    "targetServiceRevision": {"arn": revision},
                    "lifecycleHookDetails": [{"hookId": "hook-1", "status": "AWAITING_ACTION"}],
                }
            ]
        },
        "describe_service_revisions": {
            "serviceRevisions": [
                {
                    "serviceRevisionArn": revision,
                    "taskDefinition": service["taskDefinition"],
                    "loadBalancers": [balancer],
                    "resolvedConfiguration": {"loadBalancers": [{"targetGroupArn": green}]},
                }
            ]
        },
    }[action]


def extract_json(path, data):
    found = plain_extract_json(path, data)
    is_definite = not any(sign in path for sign in ("*", "?", "..", ":"))
    is_unpacked = path.endswith("]") or not (isinstance(found, list) and len(found) == 1)
    if not is_definite and not isinstance(found, list):
        return [found]
    if not is_definite or is_unpacked or json_path.parse(path).find(data)[0].value == found:
        return found
    return found[0]


def create_deployment(self, *args, **kwargs):
    plain = plain_create_deployment(self, *args, **kwargs)
    deployment = self.deployments.pop(plain)
    deployment.deployment_id = "d-" + plain.replace("-", "")[:9].upper()
    self.deployments[deployment.deployment_id] = deployment
    return deployment.deployment_id


def get_deployment(self, deployment_id):
    deployment = plain_get_deployment(self, deployment_id)
    deployment.asked = getattr(deployment, "asked", 0) + 1
    if deployment.asked > 1:
        deployment.status = "Ready"
    return deployment


aws_sdk.StateTaskServiceAwsSdk._eval_service_task = eval_service_task
plain_create_deployment = CodeDeployBackend.create_deployment
CodeDeployBackend.create_deployment = create_deployment
plain_get_deployment = CodeDeployBackend.get_deployment
CodeDeployBackend.get_deployment = get_deployment
plain_extract_json = json_path.extract_json
for module in list(sys.modules.values()):
    if getattr(module, "extract_json", None) is plain_extract_json:
        module.extract_json = extract_json
