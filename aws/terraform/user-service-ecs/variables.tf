variable "repository" {
  description = "ECR repository, owner-repo. All names derive from it: panda-REPOSITORY."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]+([_-]+[a-z0-9]+)*$", var.repository)) && length(var.repository) <= 24
    error_message = "Lower case letters, digits, - and _, at most 24 characters: a load balancer's name has 32."
  }
}

variable "pipeline_role_arn" {
  description = "Output pipeline_role_arn of controller."
  type        = string
}

variable "vpc" {
  description = "VPC of the service."
  type        = string
}

variable "public_subnets" {
  description = "At least two subnets, for the load balancer."
  type        = list(string)
}

variable "private_subnets" {
  description = "Subnets for the tasks, with a way to ECR (NAT or endpoints)."
  type        = list(string)
}

variable "port" {
  description = "Port on which the application listens."
  type        = number
  default     = 8080
}

variable "first_image" {
  description = "Image of the first version, until the first deployment. It must listen on the port."
  type        = string
  default     = "public.ecr.aws/nginx/nginx-unprivileged:stable"
}

variable "health_path" {
  description = "Path of the load balancer's health checks."
  type        = string
  default     = "/"
}

variable "tasks" {
  description = "Number of tasks."
  type        = number
  default     = 1
}

variable "certificate" {
  description = "ARN of a certificate in ACM. With it, the listeners are HTTPS, and domain is needed."
  type        = string
  default     = null
}

variable "domain" {
  description = "Name that resolves to the load balancer, for the URLs of blue and green."
  type        = string
  default     = null
}

variable "test_cidr" {
  description = "Addresses that may reach green before the switch. Panda's must be among them."
  type        = string
  default     = "10.0.0.0/8"
}

variable "approval_minutes" {
  description = "Time for each approval; then ECS rolls back."
  type        = number
  default     = 1440
}

variable "blue_minutes" {
  description = "Time for which blue stays after the switch."
  type        = number
  default     = 60
}

variable "strategy" {
  description = "BLUE_GREEN: all traffic after one approval. CANARY: a first part and the rest, after an approval each."
  type        = string
  default     = "BLUE_GREEN"
  validation {
    condition     = contains(["BLUE_GREEN", "CANARY"], var.strategy)
    error_message = "BLUE_GREEN or CANARY."
  }
}

variable "canary_percent" {
  description = "First part of the traffic, for CANARY."
  type        = number
  default     = 10
}
