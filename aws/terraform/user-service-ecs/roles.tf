# Roles of the tasks, of ECS and of the pipeline.

data "aws_iam_policy_document" "trust" {
  for_each = { tasks = "ecs-tasks.amazonaws.com", ecs = "ecs.amazonaws.com" }
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [each.value]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

# --- Tasks ---

resource "aws_iam_role" "task" {
  name               = "panda-task-${var.repository}"
  assume_role_policy = data.aws_iam_policy_document.trust["tasks"].json
}

resource "aws_iam_role" "execution" {
  name               = "panda-execution-${var.repository}"
  assume_role_policy = data.aws_iam_policy_document.trust["tasks"].json
}

data "aws_iam_policy_document" "execution" {
  #checkov:skip=CKV_AWS_356:AWS has no resources for ecr:GetAuthorizationToken.
  statement {
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = ["${local.arn.ecr}:repository/${var.repository}"]
  }
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }
}

resource "aws_iam_role_policy" "execution" {
  name   = "pull-and-log"
  role   = aws_iam_role.execution.name
  policy = data.aws_iam_policy_document.execution.json
}

# --- Load balancer ---

resource "aws_iam_role" "balancer" {
  name               = "panda-ecs-${var.repository}"
  assume_role_policy = data.aws_iam_policy_document.trust["ecs"].json
}

data "aws_iam_policy_document" "balancer" {
  #checkov:skip=CKV_AWS_111:AWS has no resources for the Describe calls.
  #checkov:skip=CKV_AWS_356:The same.
  statement {
    actions = [
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }
  statement {
    actions   = ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
    resources = [for group in aws_lb_target_group.this : group.arn]
  }
  statement {
    actions   = ["elasticloadbalancing:ModifyListener"]
    resources = [for listener in aws_lb_listener.this : listener.arn]
  }
  statement {
    actions   = ["elasticloadbalancing:ModifyRule"]
    resources = [for rule in aws_lb_listener_rule.this : rule.arn]
  }
}

resource "aws_iam_role_policy" "balancer" {
  name   = "shift-traffic"
  role   = aws_iam_role.balancer.name
  policy = data.aws_iam_policy_document.balancer.json
}

# --- Pipeline ---

data "aws_iam_policy_document" "pipeline_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.pipeline_role_arn]
    }
  }
}

resource "aws_iam_role" "pipeline" {
  name               = "panda-pipeline-${var.repository}"
  assume_role_policy = data.aws_iam_policy_document.pipeline_trust.json
}

data "aws_iam_policy_document" "pipeline" {
  #checkov:skip=CKV_AWS_111:AWS has no resources for task definitions.
  #checkov:skip=CKV_AWS_356:The same.
  statement {
    actions   = ["ecs:DescribeServices", "ecs:ListServiceDeployments", "ecs:UpdateService"]
    resources = ["${local.arn.ecs}:service/${local.name}/${local.name}"]
  }
  statement {
    actions   = ["ecs:DescribeServiceDeployments"]
    resources = ["${local.arn.ecs}:service-deployment/${local.name}/${local.name}/*"]
  }
  statement {
    actions   = ["ecs:DescribeServiceRevisions"]
    resources = ["${local.arn.ecs}:service-revision/${local.name}/${local.name}/*"]
  }
  statement {
    actions   = ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
    resources = ["*"]
  }
  statement {
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "pipeline" {
  name   = "deploy"
  role   = aws_iam_role.pipeline.name
  policy = data.aws_iam_policy_document.pipeline.json
}
