# A service that Panda deploys, once for each repository, in the user's account: ECS service that shifts its traffic itself, load balancer.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    # The service: its schema is CloudFormation's, which has pauses.
    awscc = {
      source  = "hashicorp/awscc"
      version = ">= 1.50"
    }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  account  = data.aws_caller_identity.this.account_id
  region   = data.aws_region.this.name
  name     = "panda-${var.repository}"
  is_https = var.certificate != null
  scheme   = local.is_https ? "https" : "http"
  ports    = local.is_https ? { production = 443, test = 8443 } : { production = 80, test = 8080 }
  host     = coalesce(var.domain, aws_lb.this.dns_name)
  # In parts, of which each awaits its own approval.
  is_canary = var.strategy == "CANARY"
  # ARN of a service's resource in this account and region, up to the resource.
  arn = { for service in ["ecr", "ecs"] :
  service => "arn:${data.aws_partition.this.partition}:${service}:${local.region}:${local.account}" }
}

# --- Tasks ---

resource "aws_ecs_cluster" "this" {
  name = local.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts logs; a customer's key is the customer's choice.
  name              = "/panda/${var.repository}"
  retention_in_days = 365
}

resource "aws_ecs_task_definition" "this" {
  #checkov:skip=CKV_AWS_336:Whether the application writes to its file system is unknown here.
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = "256"
  memory                   = "512"
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  runtime_platform {
    cpu_architecture        = "X86_64"
    operating_system_family = "LINUX"
  }
  # The pipeline replaces the image of the first container.
  container_definitions = jsonencode([{
    name         = "app"
    image        = var.first_image
    essential    = true
    portMappings = [{ containerPort = var.port }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = "app"
      }
    }
  }])
}

resource "awscc_ecs_service" "this" {
  service_name     = local.name
  cluster          = aws_ecs_cluster.this.arn
  task_definition  = aws_ecs_task_definition.this.arn
  desired_count    = var.tasks
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  deployment_controller = {
    type = "ECS"
  }
  deployment_configuration = {
    strategy                   = var.strategy
    canary_configuration       = local.is_canary ? { canary_percent = var.canary_percent, canary_bake_time_in_minutes = 0 } : null
    bake_time_in_minutes       = var.blue_minutes
    deployment_circuit_breaker = { enable = true, rollback = true }
    # Each pause is an approval: before all traffic moves, or before each part of it.
    lifecycle_hooks = [{
      target_type           = "PAUSE"
      lifecycle_stages      = [local.is_canary ? "PRE_PRODUCTION_TRAFFIC_SHIFT" : "POST_TEST_TRAFFIC_SHIFT"]
      timeout_configuration = { timeout_in_minutes = var.approval_minutes, action = "ROLLBACK" }
    }]
  }
  network_configuration = {
    awsvpc_configuration = {
      assign_public_ip = "DISABLED"
      security_groups  = [aws_security_group.tasks.id]
      subnets          = var.private_subnets
    }
  }
  load_balancers = [{
    container_name   = "app"
    container_port   = var.port
    target_group_arn = aws_lb_target_group.this["b"].arn
    advanced_configuration = {
      alternate_target_group_arn = aws_lb_target_group.this["g"].arn
      production_listener_rule   = aws_lb_listener_rule.this["production"].arn
      test_listener_rule         = aws_lb_listener_rule.this["test"].arn
      role_arn                   = aws_iam_role.balancer.arn
    }
  }]
  # The pipeline reads both tags.
  tags = [
    { key = "panda:blue-url", value = "${local.scheme}://${local.host}" },
    { key = "panda:green-url", value = "${local.scheme}://${local.host}:${local.ports.test}" },
  ]
  depends_on = [aws_iam_role_policy.balancer]
  lifecycle {
    # The pipeline changes it.
    ignore_changes = [task_definition]
  }
}

# --- Load balancer ---

resource "aws_security_group" "balancer" {
  #checkov:skip=CKV_AWS_260:The production listener of a public service.
  name        = "${local.name}-balancer"
  description = "Load balancer of the service"
  vpc_id      = var.vpc
  ingress {
    description = "Production listener"
    protocol    = "tcp"
    from_port   = local.ports.production
    to_port     = local.ports.production
    cidr_blocks = ["0.0.0.0/0"]
  }
  ingress {
    description = "Test listener, green before the switch"
    protocol    = "tcp"
    from_port   = local.ports.test
    to_port     = local.ports.test
    cidr_blocks = [var.test_cidr]
  }
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "To the tasks"
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
  referenced_security_group_id = aws_security_group.tasks.id
}

resource "aws_security_group" "tasks" {
  #checkov:skip=CKV2_AWS_5:The service has it, which is a resource of another provider.
  #checkov:skip=CKV_AWS_382:Tasks call ECR, CloudWatch and whatever the application calls.
  name        = "${local.name}-tasks"
  description = "Tasks of the service"
  vpc_id      = var.vpc
  ingress {
    description     = "From the load balancer"
    protocol        = "tcp"
    from_port       = var.port
    to_port         = var.port
    security_groups = [aws_security_group.balancer.id]
  }
  egress {
    description = "To ECR, CloudWatch and the services of the application"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:Access logs need a bucket, which is the account's choice.
  #checkov:skip=CKV_AWS_150:The module can be destroyed.
  #checkov:skip=CKV2_AWS_20:Redirects to HTTPS are the account's choice.
  #checkov:skip=CKV2_AWS_28:A firewall is the account's choice.
  name                       = local.name
  load_balancer_type         = "application"
  subnets                    = var.public_subnets
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:The load balancer ends TLS.
  for_each    = toset(["b", "g"])
  name        = "${local.name}-${each.value}"
  vpc_id      = var.vpc
  target_type = "ip"
  protocol    = "HTTP"
  port        = var.port
  health_check {
    path = var.health_path
  }
}

resource "aws_lb_listener" "this" {
  #checkov:skip=CKV_AWS_2:HTTPS where a certificate is given.
  #checkov:skip=CKV_AWS_103:TLS 1.2 or later where a certificate is given.
  for_each          = toset(["production", "test"])
  load_balancer_arn = aws_lb.this.arn
  port              = local.ports[each.key]
  protocol          = local.is_https ? "HTTPS" : "HTTP"
  ssl_policy        = local.is_https ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null
  certificate_arn   = var.certificate
  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      status_code  = "404"
    }
  }
}

# ECS shifts the weights of the production rule. Both target groups must hang on it from the start; a later change by others moves live traffic.
resource "aws_lb_listener_rule" "this" {
  for_each     = { production = { b = 1, g = 0 }, test = { b = 0, g = 1 } }
  listener_arn = aws_lb_listener.this[each.key].arn
  priority     = 1
  condition {
    path_pattern {
      values = ["/*"]
    }
  }
  action {
    type = "forward"
    forward {
      dynamic "target_group" {
        for_each = each.value
        content {
          arn    = aws_lb_target_group.this[target_group.key].arn
          weight = target_group.value
        }
      }
    }
  }
  lifecycle {
    # ECS changes it.
    ignore_changes = [action]
  }
}
