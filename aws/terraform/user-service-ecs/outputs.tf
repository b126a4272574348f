output "production_url" {
  value = "${local.scheme}://${local.host}"
}

output "balancer_name" {
  description = "Target of the DNS record of domain."
  value       = aws_lb.this.dns_name
}
