output "panda_role_arn" {
  description = "panda connect aws --role-arn"
  value       = aws_iam_role.panda.arn
}

output "rule_target_role_arn" {
  description = "panda connect aws --rule-target-role-arn"
  value       = aws_iam_role.rule_target.arn
}
