"""The calls of models.py: each operation with success, and each error that the sandbox has for it."""
import json

PATTERN = json.dumps({"source": ["aws.ecr"], "detail": {"repository-name": ["models"]}})
UNKNOWN_EXECUTION = "arn:aws:states:ap-northeast-2:123456789012:execution:panda-deployment:none"
TARGETS = [{"Id": "panda", "Arn": "arn:aws:events:ap-northeast-2:123456789012:event-bus/panda",
            "RoleArn": "arn:aws:iam::210987654321:role/panda-events"}]


def calls(checker, settings):
    """Makes all calls, in an order in which each finds what it needs."""
    user = lambda *call: checker.call("user", *call)
    controller = lambda *call: checker.call("controller", *call)
    states(user, controller, settings)
    elbv2(user, settings)
    cloudwatch(user, checker)
    codedeploy(user, settings)
    ecs(user, settings)
    sts(user, controller, settings)
    iam(user)
    events(user, controller)
    secrets(controller)
    # Its PutImage is a push, which starts another execution.
    ecr(user, settings)
    # Ends the execution, after which its history and its description are whole.
    execution = {"executionArn": settings["execution"]}
    controller("stepfunctions", "StopExecution", {**execution, "error": "Models", "cause": "the calls are over"})
    controller("stepfunctions", "GetExecutionHistory", execution)
    controller("stepfunctions", "DescribeExecution", execution)


def elbv2(user, settings):
    info = user("codedeploy", "GetDeployment", {"deploymentId": settings["deployment"]})["deploymentInfo"]
    pair = info["loadBalancerInfo"]["targetGroupPairInfoList"][0]
    [listener] = pair["prodTrafficRoute"]["listenerArns"]
    names = [group["name"] for group in pair["targetGroups"]]
    absent = listener[:-1] + "x"
    [found] = user("elbv2", "DescribeListeners", {"ListenerArns": [listener]})["Listeners"]
    user("elbv2", "DescribeListeners", {"LoadBalancerArn": found["LoadBalancerArn"]})
    user("elbv2", "DescribeListeners", {"ListenerArns": [listener, absent]}, "ListenerNotFound")
    user("elbv2", "DescribeListeners", {}, "ValidationError")
    [rule] = user("elbv2", "DescribeRules", {"ListenerArn": listener})["Rules"]
    user("elbv2", "DescribeRules", {"RuleArns": [rule["RuleArn"]]})
    user("elbv2", "DescribeRules", {"RuleArns": [rule["RuleArn"] + "x"]}, "RuleNotFound")
    user("elbv2", "DescribeRules", {"ListenerArn": absent}, "ListenerNotFound")
    user("elbv2", "DescribeRules", {}, "ValidationError")
    groups = user("elbv2", "DescribeTargetGroups", {"Names": names})["TargetGroups"]
    user("elbv2", "DescribeTargetGroups", {"TargetGroupArns": [groups[0]["TargetGroupArn"]]})
    user("elbv2", "DescribeTargetGroups", {})
    user("elbv2", "DescribeTargetGroups", {"Names": ["none"]}, "TargetGroupNotFound")
    for group in groups:
        user("elbv2", "DescribeTargetHealth", {"TargetGroupArn": group["TargetGroupArn"]})
    user("elbv2", "DescribeTargetHealth", {"TargetGroupArn": groups[0]["TargetGroupArn"] + "x"}, "TargetGroupNotFound")


def cloudwatch(user, checker):
    checker.inject({"alarms": {"errors": {"state": "ALARM", "reason": "above the threshold"}}})
    [alarm] = user("cloudwatch", "DescribeAlarms", {"AlarmNames": ["errors"]})["MetricAlarms"]
    assert alarm["StateValue"] == "ALARM", alarm
    user("cloudwatch", "DescribeAlarms", {"AlarmNames": ["none"]})
    user("cloudwatch", "DescribeAlarms", {"AlarmNames": ["x"] * 101}, "ValidationError")
    checker.inject({})


def sts(user, controller, settings):
    user("sts", "GetCallerIdentity", {})
    role = {"RoleArn": settings["role"], "RoleSessionName": "panda"}
    controller("sts", "AssumeRole", {**role, "ExternalId": "right", "DurationSeconds": 900})
    controller("sts", "AssumeRole", {**role, "ExternalId": "wrong"}, "AccessDenied")
    controller("sts", "AssumeRole", {**role, "RoleSessionName": "has space"}, "ValidationError")
    controller("sts", "AssumeRole", {**role, "DurationSeconds": 1}, "ValidationError")


def iam(user):
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "events.amazonaws.com"}}
    policy = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}
    document = lambda statement: json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role, inline = {"RoleName": "models-events"}, {"RoleName": "models-events", "PolicyName": "put-events"}
    user("iam", "GetRole", role, "NoSuchEntity")
    user("iam", "CreateRole", {**role, "AssumeRolePolicyDocument": "{}"}, "MalformedPolicyDocument")
    user("iam", "CreateRole", {**role, "AssumeRolePolicyDocument": document(trust)})
    user("iam", "CreateRole", {**role, "AssumeRolePolicyDocument": document(trust)}, "EntityAlreadyExists")
    user("iam", "GetRole", role)
    user("iam", "GetRolePolicy", inline, "NoSuchEntity")
    user("iam", "PutRolePolicy", {**inline, "PolicyDocument": document(policy)})
    user("iam", "GetRolePolicy", inline)
    source = {"PolicySourceArn": "arn:aws:iam::210987654321:role/models-events", "ActionNames": ["ecr:PutImage", "iam:PassRole"]}
    user("iam", "SimulatePrincipalPolicy", source)
    user("iam", "SimulatePrincipalPolicy", {**source, "PolicySourceArn": source["PolicySourceArn"] + "-none"}, "NoSuchEntity")


def events(user, controller):
    rule = {"Name": "models", "EventPattern": PATTERN}
    user("events", "DescribeRule", {"Name": "models"}, "ResourceNotFoundException")
    user("events", "PutTargets", {"Rule": "models", "Targets": TARGETS}, "ResourceNotFoundException")
    user("events", "ListTargetsByRule", {"Rule": "models"}, "ResourceNotFoundException")
    user("events", "PutRule", {"Name": "models", "EventPattern": "[]"}, "InvalidEventPatternException")
    user("events", "PutRule", {"Name": "a b", "EventPattern": PATTERN}, "ValidationException")
    user("events", "PutRule", {**rule, "EventBusName": "none"}, "ResourceNotFoundException")
    user("events", "PutRule", {**rule, "State": "DISABLED", "Description": "pushes"})
    user("events", "DescribeRule", {"Name": "models"})
    user("events", "PutTargets", {"Rule": "models", "Targets": TARGETS})
    many = [{**TARGETS[0], "Id": f"t{number}"} for number in range(6)]
    user("events", "PutTargets", {"Rule": "models", "Targets": many}, "LimitExceededException")
    user("events", "ListTargetsByRule", {"Rule": "models"})
    user("events", "ListRules", {"NamePrefix": "models"})
    user("events", "DeleteRule", {"Name": "models"}, "ValidationException")
    user("events", "RemoveTargets", {"Rule": "models", "Ids": ["panda"]})
    user("events", "RemoveTargets", {"Rule": "none", "Ids": ["panda"]}, "ResourceNotFoundException")
    user("events", "DeleteRule", {"Name": "models"})
    user("events", "DescribeEventBus", {})
    user("events", "DescribeEventBus", {"Name": "none"}, "ResourceNotFoundException")
    permission = {"EventBusName": "panda", "Action": "events:PutEvents", "Principal": "210987654321", "StatementId": "models"}
    controller("events", "PutPermission", permission)
    controller("events", "DescribeEventBus", {"Name": "panda"})
    controller("events", "PutPermission", {**permission, "EventBusName": "none"}, "ResourceNotFoundException")
    controller("events", "PutPermission", {**permission, "Principal": "someone"}, "ValidationException")
    full = {"Version": "2012-10-17", "Statement": [{"Sid": "x" * 11_000}]}
    controller("events", "PutPermission", {"EventBusName": "panda", "Policy": json.dumps(full)}, "PolicyLengthExceededException")
    controller("events", "RemovePermission", {"EventBusName": "panda", "StatementId": "models"})
    controller("events", "RemovePermission", {"EventBusName": "panda", "StatementId": "models"}, "ResourceNotFoundException")


def ecr(user, settings):
    name = settings["repository"]
    arn = user("ecr", "DescribeRepositories", {"repositoryNames": [name]})["repositories"][0]["repositoryArn"]
    user("ecr", "DescribeRepositories", {"repositoryNames": ["none"]}, "RepositoryNotFoundException")
    user("ecr", "CreateRepository", {"repositoryName": "models", "tags": [{"Key": "a", "Value": "b"}]})
    user("ecr", "CreateRepository", {"repositoryName": "models"}, "RepositoryAlreadyExistsException")
    user("ecr", "CreateRepository", {"repositoryName": "UPPER"}, "InvalidParameterException")
    user("ecr", "ListTagsForResource", {"resourceArn": arn})
    user("ecr", "ListTagsForResource", {"resourceArn": arn.replace(name, "none")}, "RepositoryNotFoundException")
    user("ecr", "GetAuthorizationToken", {})
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14}
    policy = {"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]}
    user("ecr", "GetLifecyclePolicy", {"repositoryName": "models"}, "LifecyclePolicyNotFoundException")
    user("ecr", "PutLifecyclePolicy", {"repositoryName": "models", "lifecyclePolicyText": json.dumps(policy)})
    user("ecr", "GetLifecyclePolicy", {"repositoryName": "models"})
    user("ecr", "GetLifecyclePolicy", {"repositoryName": "none"}, "RepositoryNotFoundException")
    user("ecr", "PutLifecyclePolicy", {"repositoryName": "models", "lifecyclePolicyText": "{" + " " * 120}, "InvalidParameterException")
    user("ecr", "DescribeImages", {"repositoryName": name})
    tag = {"imageTag": "none"}
    user("ecr", "DescribeImages", {"repositoryName": name, "imageIds": [tag]}, "ImageNotFoundException")
    digest = {"imageDigest": settings["digest"]}
    image = user("ecr", "BatchGetImage", {"repositoryName": name, "imageIds": [digest, tag]})["images"][0]
    user("ecr", "BatchGetImage", {"repositoryName": "none", "imageIds": [tag]}, "RepositoryNotFoundException")
    put = {"repositoryName": name, "imageManifest": image["imageManifest"], "imageManifestMediaType": image["imageManifestMediaType"]}
    user("ecr", "PutImage", {**put, "imageTag": "models"})
    user("ecr", "PutImage", {**put, "imageTag": "models"}, "ImageAlreadyExistsException")


def secrets(controller):
    secret = {"SecretId": "panda/models"}
    controller("secretsmanager", "GetSecretValue", secret, "ResourceNotFoundException")
    controller("secretsmanager", "CreateSecret", {"Name": "panda/models", "ClientRequestToken": "x" * 32})
    controller("secretsmanager", "CreateSecret", {"Name": "panda/models"}, "ResourceExistsException")
    controller("secretsmanager", "DescribeSecret", secret)
    controller("secretsmanager", "GetSecretValue", secret, "ResourceNotFoundException")
    controller("secretsmanager", "PutSecretValue", {**secret, "SecretString": "one"})
    controller("secretsmanager", "PutSecretValue", secret, "InvalidParameterException")
    controller("secretsmanager", "DescribeSecret", secret)
    controller("secretsmanager", "GetSecretValue", secret)


def states(user, controller, settings):
    execution = {"executionArn": settings["execution"]}
    machine = settings["execution"].replace(":execution:", ":stateMachine:").rsplit(":", 1)[0]
    controller("stepfunctions", "DescribeExecution", execution)
    for reverse in (False, True):
        page = {"reverseOrder": reverse, "maxResults": 3}
        while page.get("nextToken", "first"):
            answer = controller("stepfunctions", "GetExecutionHistory", {**execution, **page})
            page["nextToken"] = answer.get("nextToken", "")
    controller("stepfunctions", "GetExecutionHistory", {**execution, "includeExecutionData": False})
    controller("stepfunctions", "GetExecutionHistory", {**execution, "nextToken": "x"}, "InvalidToken")
    controller("stepfunctions", "ListExecutions", {"stateMachineArn": machine, "maxResults": 1})
    controller("stepfunctions", "ListExecutions", {"stateMachineArn": machine + "x"}, "StateMachineDoesNotExist")
    controller("stepfunctions", "DescribeStateMachine", {"stateMachineArn": machine})
    controller("stepfunctions", "DescribeStateMachine", {"stateMachineArn": machine + "x"}, "StateMachineDoesNotExist")
    for operation in ("DescribeExecution", "GetExecutionHistory", "StopExecution"):
        controller("stepfunctions", operation, {"executionArn": UNKNOWN_EXECUTION}, "ExecutionDoesNotExist")
        controller("stepfunctions", operation, {"executionArn": "none"}, "InvalidArn")
        user("stepfunctions", operation, execution, "AccessDeniedException")


def codedeploy(user, settings):
    deployment = {"deploymentId": settings["deployment"]}
    info = user("codedeploy", "GetDeployment", deployment)["deploymentInfo"]
    group = {"applicationName": info["applicationName"], "deploymentGroupName": info["deploymentGroupName"]}
    user("codedeploy", "GetDeploymentGroup", group)
    user("codedeploy", "GetDeploymentGroup", {**group, "deploymentGroupName": "none"}, "DeploymentGroupDoesNotExistException")
    user("codedeploy", "GetDeploymentGroup", {**group, "applicationName": "none"}, "ApplicationDoesNotExistException")
    user("codedeploy", "BatchGetDeployments", {"deploymentIds": [settings["deployment"]]})
    user("codedeploy", "BatchGetDeployments", {"deploymentIds": ["d-ABCDEFGHI", settings["deployment"]]})
    user("codedeploy", "BatchGetDeployments", {}, "DeploymentIdRequiredException")
    user("codedeploy", "BatchGetDeployments", {"deploymentIds": ["ecs-svc/1"]}, "InvalidDeploymentIdException")
    user("codedeploy", "BatchGetDeployments", {"deploymentIds": ["d-ABCDEFGHI"] * 26}, "BatchLimitExceededException")
    user("codedeploy", "ListDeployments", {})
    user("codedeploy", "ListDeployments", {name: info[name] for name in ("applicationName", "deploymentGroupName")})
    user("codedeploy", "ListDeployments", {"applicationName": "none"}, "DeploymentGroupNameRequiredException")
    user("codedeploy", "ListDeployments", {"deploymentGroupName": "none"}, "ApplicationNameRequiredException")
    user("codedeploy", "GetDeploymentConfig", {"deploymentConfigName": info["deploymentConfigName"]})
    user("codedeploy", "GetDeploymentConfig", {"deploymentConfigName": "none"}, "DeploymentConfigDoesNotExistException")
    user("codedeploy", "GetDeploymentConfig", {}, "DeploymentConfigNameRequiredException")
    targets = user("codedeploy", "ListDeploymentTargets", deployment)["targetIds"]
    user("codedeploy", "BatchGetDeploymentTargets", {**deployment, "targetIds": targets})
    user("codedeploy", "BatchGetDeploymentTargets", {**deployment, "targetIds": ["x:y"]}, "DeploymentTargetDoesNotExistException")
    for operation in ("GetDeployment", "ContinueDeployment", "StopDeployment", "ListDeploymentTargets", "BatchGetDeploymentTargets"):
        more = {"targetIds": ["x"]} if operation == "BatchGetDeploymentTargets" else {}
        user("codedeploy", operation, more, "DeploymentIdRequiredException")
        user("codedeploy", operation, {"deploymentId": "d-ABCDEFGHI", **more}, "DeploymentDoesNotExistException")
        if operation != "ContinueDeployment":
            user("codedeploy", operation, {"deploymentId": "ecs-svc/1", **more}, "InvalidDeploymentIdException")
    user("codedeploy", "ContinueDeployment", {**deployment, "deploymentWaitType": "LATER"}, "InvalidDeploymentWaitTypeException")
    user("codedeploy", "ContinueDeployment", {**deployment, "deploymentWaitType": "READY_WAIT"})
    user("codedeploy", "ContinueDeployment", {**deployment, "deploymentWaitType": "READY_WAIT"}, "DeploymentIsNotInReadyStateException")
    user("codedeploy", "StopDeployment", deployment)


def ecs(user, settings):
    """Service deployments of ECS."""
    arn, unknown = settings["serviceDeployment"], settings["serviceDeployment"] + "X"
    service = {"service": settings["service"], "cluster": "panda-cluster"}
    listed = user("ecs", "ListServiceDeployments", service)["serviceDeployments"]
    user("ecs", "ListServiceDeployments", {**service, "status": ["SUCCESSFUL"]})
    user("ecs", "ListServiceDeployments", {**service, "createdAt": {"after": 0}, "maxResults": 1})
    user("ecs", "ListServiceDeployments", {**service, "nextToken": "none"}, "InvalidParameterException")
    user("ecs", "ListServiceDeployments", {**service, "service": "none"}, "ServiceNotFoundException")
    user("ecs", "ListServiceDeployments", {**service, "cluster": "none"}, "ClusterNotFoundException")
    found = user("ecs", "DescribeServiceDeployments", {"serviceDeploymentArns": [arn, unknown]})["serviceDeployments"][0]
    user("ecs", "DescribeServiceDeployments", {"serviceDeploymentArns": []}, "InvalidParameterException")
    user("ecs", "DescribeServiceDeployments", {"serviceDeploymentArns": [arn] * 21}, "InvalidParameterException")
    revision = listed[0]["targetServiceRevisionArn"]
    user("ecs", "DescribeServiceRevisions", {"serviceRevisionArns": [revision, revision + "9"]})
    user("ecs", "DescribeServiceRevisions", {"serviceRevisionArns": []}, "InvalidParameterException")
    hook = {"serviceDeploymentArn": arn, "hookId": found["lifecycleHookDetails"][0]["hookId"]}
    user("ecs", "ContinueServiceDeployment", {**hook, "hookId": "none"}, "InvalidParameterException")
    user("ecs", "ContinueServiceDeployment", {**hook, "action": "LATER"}, "InvalidParameterException")
    user("ecs", "ContinueServiceDeployment", {**hook, "serviceDeploymentArn": unknown}, "ServiceDeploymentNotFoundException")
    user("ecs", "ContinueServiceDeployment", {**hook, "action": "CONTINUE"})
    user("ecs", "ContinueServiceDeployment", hook, "InvalidParameterException")
    user("ecs", "DescribeServiceDeployments", {"serviceDeploymentArns": [arn]})
    user("ecs", "StopServiceDeployment", {"serviceDeploymentArn": unknown}, "ServiceDeploymentNotFoundException")
    user("ecs", "StopServiceDeployment", {"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})
    user("ecs", "StopServiceDeployment", {"serviceDeploymentArn": arn}, "ConflictException")
    user("ecs", "DescribeServiceDeployments", {"serviceDeploymentArns": [arn]})
