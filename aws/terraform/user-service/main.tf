# A service that Panda deploys, once for each repository, in the user's account: ECS service with two target groups, load balancer.

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
  account  = data.aws_caller_identity.this.account_id
  region   = data.aws_region.this.name
  name     = "panda-${var.repository}"
  is_https = var.certificate != null
  scheme   = local.is_https ? "https" : "http"
  ports    = local.is_https ? { production = 443, test = 8443 } : { production = 80, test = 8080 }
  host     = coalesce(var.domain, aws_lb.this.dns_name)
  # ARN of a service's resource in this account and region, up to the resource.
  arn = { for service in ["cloudwatch", "codedeploy", "ecr", "ecs"] :
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

resource "aws_ecs_service" "this" {
  name             = local.name
  cluster          = aws_ecs_cluster.this.arn
  task_definition  = aws_ecs_task_definition.this.arn
  desired_count    = var.tasks
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  deployment_controller {
    type = "CODE_DEPLOY"
  }
  network_configuration {
    assign_public_ip = false
    security_groups  = [aws_security_group.tasks.id]
    subnets          = var.private_subnets
  }
  load_balancer {
    container_name   = "app"
    container_port   = var.port
    target_group_arn = aws_lb_target_group.this["b"].arn
  }
  # The pipeline reads both tags.
  tags = {
    "panda:blue-url"  = "${local.scheme}://${local.host}"
    "panda:green-url" = "${local.scheme}://${local.host}:${local.ports.test}"
  }
  depends_on = [aws_lb_listener.this]
  lifecycle {
    # CodeDeploy changes them.
    ignore_changes = [load_balancer, task_definition]
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
  for_each          = { production = "b", test = "g" }
  load_balancer_arn = aws_lb.this.arn
  port              = local.ports[each.key]
  protocol          = local.is_https ? "HTTPS" : "HTTP"
  ssl_policy        = local.is_https ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null
  certificate_arn   = var.certificate
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.value].arn
  }
  lifecycle {
    # CodeDeploy changes it.
    ignore_changes = [default_action]
  }
}

# --- CodeDeploy ---

resource "aws_codedeploy_app" "this" {
  name             = local.name
  compute_platform = "ECS"
}

resource "aws_codedeploy_deployment_group" "this" {
  app_name               = aws_codedeploy_app.this.name
  deployment_group_name  = local.name
  service_role_arn       = aws_iam_role.codedeploy.arn
  deployment_config_name = "CodeDeployDefault.ECSAllAtOnce"
  deployment_style {
    deployment_type   = "BLUE_GREEN"
    deployment_option = "WITH_TRAFFIC_CONTROL"
  }
  auto_rollback_configuration {
    enabled = true
    events  = ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_REQUEST"]
  }
  blue_green_deployment_config {
    deployment_ready_option {
      action_on_timeout    = "STOP_DEPLOYMENT"
      wait_time_in_minutes = var.approval_minutes
    }
    terminate_blue_instances_on_deployment_success {
      action                           = "TERMINATE"
      termination_wait_time_in_minutes = var.blue_minutes
    }
  }
  ecs_service {
    cluster_name = aws_ecs_cluster.this.name
    service_name = aws_ecs_service.this.name
  }
  load_balancer_info {
    target_group_pair_info {
      prod_traffic_route {
        listener_arns = [aws_lb_listener.this["production"].arn]
      }
      test_traffic_route {
        listener_arns = [aws_lb_listener.this["test"].arn]
      }
      target_group {
        name = aws_lb_target_group.this["b"].name
      }
      target_group {
        name = aws_lb_target_group.this["g"].name
      }
    }
  }
}
