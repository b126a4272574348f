# A user's account of Panda, once for each account and region: role for Panda, role of the rules' target, optional status events.

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
  account = data.aws_caller_identity.this.account_id
  # ARN of a service's resource in this account and region, up to the resource.
  arn = { for service in ["cloudwatch", "codedeploy", "ecr", "ecs", "events"] :
  service => "arn:${data.aws_partition.this.partition}:${service}:${data.aws_region.this.name}:${local.account}" }
}

# --- Panda ---

data "aws_iam_policy_document" "panda_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.panda_role_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [var.external_id]
    }
  }
}

resource "aws_iam_role" "panda" {
  name               = "panda-access${var.role_suffix}"
  assume_role_policy = data.aws_iam_policy_document.panda_trust.json
}

# `panda iam-policy user` prints the same statements.
data "aws_iam_policy_document" "panda" {
  #checkov:skip=CKV_AWS_111:AWS has no resources for ecr:GetAuthorizationToken, events:ListRules, four calls of CodeDeploy and the Describe calls of load balancers.
  #checkov:skip=CKV_AWS_356:The same.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    sid = "PushImages"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:CreateRepository",
      "ecr:DescribeImages",
      "ecr:DescribeRepositories",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:ListTagsForResource",
      "ecr:PutImage",
      "ecr:PutLifecyclePolicy",
      "ecr:TagResource",
      "ecr:UploadLayerPart",
    ]
    resources = ["${local.arn.ecr}:repository/${var.repositories}"]
  }
  statement {
    sid = "ManageRules"
    actions = [
      "events:DeleteRule",
      "events:DescribeRule",
      "events:ListTargetsByRule",
      "events:PutRule",
      "events:PutTargets",
      "events:RemoveTargets",
    ]
    resources = ["${local.arn.events}:rule/panda-ecr-push-*"]
  }
  statement {
    sid       = "ListRules"
    actions   = ["events:ListRules"]
    resources = ["*"]
  }
  statement {
    sid       = "PassRoleOfRules"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.rule_target.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["events.amazonaws.com"]
    }
  }
  statement {
    sid = "ReadRollouts"
    actions = [
      "codedeploy:BatchGetDeployments",
      "codedeploy:GetDeployment",
      "codedeploy:GetDeploymentConfig",
    ]
    resources = ["${local.arn.codedeploy}:deploymentconfig:*", "${local.arn.codedeploy}:deploymentgroup:panda-*"]
  }
  statement {
    sid = "SwitchTraffic"
    actions = [
      "codedeploy:BatchGetDeploymentTargets",
      "codedeploy:ContinueDeployment",
      "codedeploy:ListDeploymentTargets",
      "codedeploy:StopDeployment",
    ]
    resources = ["*"]
  }
  # The next four are for services whose traffic ECS shifts.
  statement {
    sid       = "ReadServiceDeployments"
    actions   = ["ecs:DescribeServiceDeployments"]
    resources = ["${local.arn.ecs}:service-deployment/*"]
  }
  statement {
    sid       = "ReadServiceRevisions"
    actions   = ["ecs:DescribeServiceRevisions"]
    resources = ["${local.arn.ecs}:service-revision/*"]
  }
  statement {
    sid       = "FindServiceDeployments"
    actions   = ["ecs:ListServiceDeployments"]
    resources = ["${local.arn.ecs}:service/*"]
  }
  statement {
    sid       = "SwitchServiceTraffic"
    actions   = ["ecs:ContinueServiceDeployment", "ecs:StopServiceDeployment"]
    resources = ["${local.arn.ecs}:service-deployment/*"]
  }
  statement {
    sid = "ReadListeners"
    actions = [
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }
  statement {
    sid       = "ReadAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["${local.arn.cloudwatch}:alarm:*"]
  }
  # The last four are for `panda check` alone.
  statement {
    sid       = "CheckRoleOfRules"
    actions   = ["iam:GetRole"]
    resources = [aws_iam_role.rule_target.arn]
  }
  statement {
    sid       = "CheckImages"
    actions   = ["ecr:GetLifecyclePolicy"]
    resources = ["${local.arn.ecr}:repository/${var.repositories}"]
  }
  statement {
    sid       = "CheckRollouts"
    actions   = ["codedeploy:GetDeploymentGroup"]
    resources = ["${local.arn.codedeploy}:deploymentgroup:panda-*"]
  }
  statement {
    sid       = "SimulateOwnPolicies"
    actions   = ["iam:SimulatePrincipalPolicy"]
    resources = [aws_iam_role.panda.arn]
  }
}

resource "aws_iam_role_policy" "panda" {
  name   = "panda-user"
  role   = aws_iam_role.panda.name
  policy = data.aws_iam_policy_document.panda.json
}

# --- Rules ---

data "aws_iam_policy_document" "rule_target_trust" {
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
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["${local.arn.events}:rule/panda-ecr-push-*", "${local.arn.events}:rule/panda-rollout-status"]
    }
  }
}

resource "aws_iam_role" "rule_target" {
  name               = "panda-events${var.role_suffix}"
  assume_role_policy = data.aws_iam_policy_document.rule_target_trust.json
}

data "aws_iam_policy_document" "rule_target" {
  statement {
    actions   = ["events:PutEvents"]
    resources = [var.bus_arn]
  }
}

resource "aws_iam_role_policy" "rule_target" {
  name   = "panda-put-events"
  role   = aws_iam_role.rule_target.name
  policy = data.aws_iam_policy_document.rule_target.json
}

resource "aws_cloudwatch_event_rule" "rollout_status" {
  count = var.status_events ? 1 : 0
  name  = "panda-rollout-status"
  event_pattern = jsonencode({
    source        = ["aws.codedeploy", "aws.ecs"]
    "detail-type" = ["CodeDeploy Deployment State-change Notification", "ECS Deployment State Change", "ECS Service Action"]
  })
}

resource "aws_cloudwatch_event_target" "rollout_status" {
  count     = var.status_events ? 1 : 0
  rule      = aws_cloudwatch_event_rule.rollout_status[0].name
  target_id = "panda"
  arn       = var.bus_arn
  role_arn  = aws_iam_role.rule_target.arn
}
