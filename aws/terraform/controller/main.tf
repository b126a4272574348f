# The controller's account of Panda: event bus, pipeline (state machine), roles, the secret of the latest execution, optional status queue.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.name
  pipeline  = "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:panda"
}

# --- Event bus ---

resource "aws_cloudwatch_event_bus" "panda" {
  name = var.bus_name
}

data "aws_iam_policy_document" "bus" {
  statement {
    sid       = "panda-accounts"
    actions   = ["events:PutEvents"]
    resources = [aws_cloudwatch_event_bus.panda.arn]
    principals {
      type        = "AWS"
      identifiers = var.user_accounts
    }
  }
}

resource "aws_cloudwatch_event_bus_policy" "panda" {
  event_bus_name = aws_cloudwatch_event_bus.panda.name
  policy         = data.aws_iam_policy_document.bus.json
}

resource "aws_cloudwatch_event_rule" "pushes" {
  name           = "panda-pushes"
  description    = "Image pushes of Panda start its pipeline"
  event_bus_name = aws_cloudwatch_event_bus.panda.name
  event_pattern = jsonencode({
    source        = ["aws.ecr"]
    account       = var.user_accounts
    region        = [local.region]
    "detail-type" = ["ECR Image Action"]
    detail = {
      "action-type" = ["PUSH"]
      result        = ["SUCCESS"]
      "image-tag"   = [{ prefix = "dep_" }]
    }
  })
}

resource "aws_cloudwatch_event_target" "pipeline" {
  rule           = aws_cloudwatch_event_rule.pushes.name
  event_bus_name = aws_cloudwatch_event_bus.panda.name
  target_id      = "pipeline"
  arn            = aws_sfn_state_machine.pipeline.arn
  role_arn       = aws_iam_role.push_rule.arn
}

data "aws_iam_policy_document" "push_rule_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.pushes.arn]
    }
  }
}

resource "aws_iam_role" "push_rule" {
  name               = "panda-push-rule-${local.region}"
  assume_role_policy = data.aws_iam_policy_document.push_rule_trust.json
}

data "aws_iam_policy_document" "push_rule" {
  statement {
    actions   = ["states:StartExecution"]
    resources = [local.pipeline]
  }
}

resource "aws_iam_role_policy" "push_rule" {
  name   = "start-pipeline"
  role   = aws_iam_role.push_rule.name
  policy = data.aws_iam_policy_document.push_rule.json
}

# --- Pipeline ---

resource "aws_sfn_state_machine" "pipeline" {
  #checkov:skip=CKV_AWS_284:Step Functions keeps the history of each execution for 90 days; traces would add a service and its permissions.
  #checkov:skip=CKV_AWS_285:Logs would contain task definitions, whose environment is not for readers of logs.
  name     = "panda"
  type     = "STANDARD"
  role_arn = aws_iam_role.pipeline.arn
  definition = templatefile("${path.module}/../../state-machine.asl.json", {
    Partition = local.partition
    DnsSuffix = data.aws_partition.this.dns_suffix
  })
  depends_on = [aws_iam_role_policy.pipeline]
}

data "aws_iam_policy_document" "pipeline_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.pipeline]
    }
  }
}

resource "aws_iam_role" "pipeline" {
  name               = "panda-pipeline-${local.region}"
  assume_role_policy = data.aws_iam_policy_document.pipeline_trust.json
}

data "aws_iam_policy_document" "pipeline" {
  statement {
    sid       = "RecordExecution"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:PutSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:panda/stepfunctions/*"]
  }
  statement {
    sid       = "ActInUserAccounts"
    actions   = ["sts:AssumeRole"]
    resources = ["arn:${local.partition}:iam::*:role/panda-pipeline-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceAccount"
      values   = var.user_accounts
    }
  }
}

resource "aws_iam_role_policy" "pipeline" {
  name   = "pipeline"
  role   = aws_iam_role.pipeline.name
  policy = data.aws_iam_policy_document.pipeline.json
}

resource "aws_secretsmanager_secret" "latest_execution" {
  #checkov:skip=CKV_AWS_149:The value is the ARN of an execution, not a secret; the key of AWS suffices.
  #checkov:skip=CKV2_AWS_57:Each push writes a new value.
  for_each    = var.repositories
  name        = "panda/stepfunctions/${each.value}-latest-execution"
  description = "ARN of the latest execution of Panda's pipeline for this ECR repository"
}

# --- Panda ---

data "aws_iam_policy_document" "panda_trust" {
  statement {
    actions = var.runs_on == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [var.runs_on]
    }
  }
}

resource "aws_iam_role" "panda" {
  name               = "panda-controller"
  assume_role_policy = data.aws_iam_policy_document.panda_trust.json
}

# `panda iam-policy controller` prints the same statements.
data "aws_iam_policy_document" "panda" {
  statement {
    sid       = "AssumeUsersRoles"
    actions   = ["sts:AssumeRole"]
    resources = ["arn:${local.partition}:iam::*:role/panda-access*"]
  }
  statement {
    sid       = "ReadBusPolicy"
    actions   = ["events:DescribeEventBus"]
    resources = [aws_cloudwatch_event_bus.panda.arn]
  }
  statement {
    sid       = "ReadLatestExecution"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:panda/stepfunctions/*"]
  }
  statement {
    sid       = "FollowExecutions"
    actions   = ["states:DescribeExecution", "states:GetExecutionHistory", "states:StopExecution"]
    resources = ["arn:${local.partition}:states:${local.region}:${local.account}:execution:panda:*"]
  }
  # The next three are for `panda check` alone.
  statement {
    sid       = "CheckRules"
    actions   = ["events:ListRules"]
    resources = ["*"]
  }
  statement {
    sid     = "CheckPipeline"
    actions = ["events:ListTargetsByRule", "states:DescribeStateMachine"]
    resources = [
      "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:panda",
      "arn:${local.partition}:events:${local.region}:${local.account}:rule/${aws_cloudwatch_event_bus.panda.name}/*",
    ]
  }
  statement {
    sid       = "SimulateOwnPolicies"
    actions   = ["iam:SimulatePrincipalPolicy"]
    resources = [aws_iam_role.panda.arn]
  }
  dynamic "statement" {
    for_each = aws_sqs_queue.status
    content {
      sid       = "ReceiveStatusEvents"
      actions   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
      resources = [statement.value.arn]
    }
  }
}

resource "aws_iam_role_policy" "panda" {
  name   = "panda-controller"
  role   = aws_iam_role.panda.name
  policy = data.aws_iam_policy_document.panda.json
}

# --- Status events ---

resource "aws_sqs_queue" "status" {
  count                   = var.status_queue ? 1 : 0
  name                    = "panda-status"
  sqs_managed_sse_enabled = true
  # A later message is of no use: Panda polls.
  message_retention_seconds = 300
}

resource "aws_cloudwatch_event_rule" "execution_status" {
  count = var.status_queue ? 1 : 0
  name  = "panda-execution-status"
  event_pattern = jsonencode({
    source        = ["aws.states"]
    "detail-type" = ["Step Functions Execution Status Change"]
    detail        = { stateMachineArn = [local.pipeline] }
  })
}

resource "aws_cloudwatch_event_target" "execution_status" {
  count     = var.status_queue ? 1 : 0
  rule      = aws_cloudwatch_event_rule.execution_status[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.status[0].arn
}

resource "aws_cloudwatch_event_rule" "rollout_status" {
  count          = var.status_queue ? 1 : 0
  name           = "panda-rollout-status"
  event_bus_name = aws_cloudwatch_event_bus.panda.name
  event_pattern = jsonencode({
    source        = ["aws.codedeploy", "aws.ecs"]
    account       = var.user_accounts
    "detail-type" = ["CodeDeploy Deployment State-change Notification", "ECS Deployment State Change", "ECS Service Action"]
  })
}

resource "aws_cloudwatch_event_target" "rollout_status" {
  count          = var.status_queue ? 1 : 0
  rule           = aws_cloudwatch_event_rule.rollout_status[0].name
  event_bus_name = aws_cloudwatch_event_bus.panda.name
  target_id      = "queue"
  arn            = aws_sqs_queue.status[0].arn
}

data "aws_iam_policy_document" "status" {
  count = var.status_queue ? 1 : 0
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.status[0].arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.execution_status[0].arn, aws_cloudwatch_event_rule.rollout_status[0].arn]
    }
  }
}

resource "aws_sqs_queue_policy" "status" {
  count     = var.status_queue ? 1 : 0
  queue_url = aws_sqs_queue.status[0].url
  policy    = data.aws_iam_policy_document.status[0].json
}
