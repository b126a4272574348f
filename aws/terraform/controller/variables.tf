variable "bus_name" {
  description = "Name of the event bus; PANDA_EVENT_BUS."
  type        = string
  default     = "panda"
}

variable "user_accounts" {
  description = "Ids of the AWS accounts that deploy. They may put events on the bus, and the pipeline may act in them."
  type        = list(string)
  validation {
    condition     = length(var.user_accounts) > 0 && alltrue([for id in var.user_accounts : can(regex("^[0-9]{12}$", id))])
    error_message = "An account's id has twelve digits."
  }
}

variable "repositories" {
  description = "ECR repositories (owner-repo) whose secret is created now. The pipeline creates those of others at their first push."
  type        = set(string)
  default     = []
}

variable "runs_on" {
  description = "Service that assumes Panda's role: ECS, EC2, or EKS Pod Identity."
  type        = string
  default     = "ecs-tasks.amazonaws.com"
  validation {
    condition     = contains(["ecs-tasks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com"], var.runs_on)
    error_message = "Use ecs-tasks.amazonaws.com, ec2.amazonaws.com or pods.eks.amazonaws.com."
  }
}

variable "status_queue" {
  description = "Create a queue for status events; PANDA_STATUS_QUEUE_URL."
  type        = bool
  default     = false
}
