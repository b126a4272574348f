# Roles of the tasks, of CodeDeploy and of the pipeline.

data "aws_iam_policy_document" "trust" {
  for_each = { tasks = "ecs-tasks.amazonaws.com", codedeploy = "codedeploy.amazonaws.com" }
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

# --- CodeDeploy ---

resource "aws_iam_role" "codedeploy" {
  name               = "panda-codedeploy-${var.repository}"
  assume_role_policy = data.aws_iam_policy_document.trust["codedeploy"].json
}

data "aws_iam_policy_document" "codedeploy" {
  #checkov:skip=CKV_AWS_111:AWS has no resources for ecs:CreateTaskSet and the Describe calls.
  #checkov:skip=CKV_AWS_356:The same.
  statement {
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["${local.arn.cloudwatch}:alarm:*"]
  }
  statement {
    actions = [
      "ecs:CreateTaskSet",
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTargetGroups",
    ]
    resources = ["*"]
  }
  statement {
    actions   = ["ecs:DescribeServices", "ecs:UpdateServicePrimaryTaskSet"]
    resources = ["${local.arn.ecs}:service/${local.name}/${local.name}"]
  }
  statement {
    actions   = ["ecs:DeleteTaskSet"]
    resources = ["${local.arn.ecs}:task-set/${local.name}/${local.name}/*"]
  }
  statement {
    actions   = ["elasticloadbalancing:ModifyListener"]
    resources = [for listener in aws_lb_listener.this : listener.arn]
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

resource "aws_iam_role_policy" "codedeploy" {
  name   = "blue-green"
  role   = aws_iam_role.codedeploy.name
  policy = data.aws_iam_policy_document.codedeploy.json
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
    actions   = ["ecs:DescribeServices"]
    resources = ["${local.arn.ecs}:service/${local.name}/${local.name}"]
  }
  statement {
    actions   = ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
    resources = ["*"]
  }
  statement {
    actions   = ["codedeploy:CreateDeployment", "codedeploy:GetDeployment", "codedeploy:GetDeploymentGroup"]
    resources = ["${local.arn.codedeploy}:deploymentgroup:${local.name}/${local.name}"]
  }
  statement {
    actions   = ["codedeploy:GetApplicationRevision", "codedeploy:RegisterApplicationRevision"]
    resources = ["${local.arn.codedeploy}:application:${local.name}"]
  }
  statement {
    actions   = ["codedeploy:GetDeploymentConfig"]
    resources = ["${local.arn.codedeploy}:deploymentconfig:*"]
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
