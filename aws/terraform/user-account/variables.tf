variable "panda_role_arn" {
  description = "Output panda_role_arn of controller, or any other identity of `panda serve`."
  type        = string
}

variable "external_id" {
  description = "The external id that Panda answers when the role is connected the first time."
  type        = string
}

variable "bus_arn" {
  description = "Output bus_arn of controller."
  type        = string
}

variable "repositories" {
  description = "ECR repositories that Panda may create and push to, as a pattern of owner-repo, such as acme-*."
  type        = string
  default     = "*"
}

variable "role_suffix" {
  description = "Appended to the names of the roles, for a second region of the same account, such as -us-east-1."
  type        = string
  default     = ""
}

variable "status_events" {
  description = "Forward status events of CodeDeploy and ECS to the bus, where controller has status_queue."
  type        = bool
  default     = false
}
