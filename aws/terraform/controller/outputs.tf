output "bus_arn" {
  description = "Variable bus_arn of user-account. Set PANDA_EVENT_BUS to its name, and PANDA_BUS_POLICY=managed."
  value       = aws_cloudwatch_event_bus.panda.arn
}

output "panda_role_arn" {
  description = "Role of `panda serve`; variable panda_role_arn of user-account."
  value       = aws_iam_role.panda.arn
}

output "pipeline_role_arn" {
  description = "Variable pipeline_role_arn of user-service."
  value       = aws_iam_role.pipeline.arn
}

output "status_queue_url" {
  description = "PANDA_STATUS_QUEUE_URL."
  value       = one(aws_sqs_queue.status[*].url)
}
