{{/* The chart's alerts, before the changes of metrics.rules.alerts. */}}
{{- define "panda.alerts" -}}
{{- $rules := .Values.metrics.rules }}
{{- $of := printf "namespace=%q, service=%q" .Release.Namespace (include "panda.fullname" .) }}
{{- $most := index .Values.config "maxDeployments" | default 10000 | int }}
{{- $connections := index .Values.config "databaseMaxConnections" | default 16 | int }}
{{- $streams := index .Values.config "maxStreams" | default 10000 | int }}
{{- /* Failures caused by the repository or requested by a user: the caller sees them, and operators need no alert. */}}
{{- $ofSource := "CANCELLED|BRANCH_NOT_FOUND|TAG_NOT_FOUND|COMMIT_NOT_FOUND|REPOSITORY_NOT_FOUND|REPOSITORY_NAME_TAKEN|SOURCE_ACCESS_DENIED|SOURCE_TOO_LARGE|DOCKERFILE_NOT_FOUND|DOCKERFILE_AMBIGUOUS|BUILD_CONFIG_INVALID|BUILD_CONTEXT_INVALID|BUILDKIT_REQUIRED|BASE_IMAGE_NOT_FOUND|BASE_IMAGE_DENIED|IMAGE_NOT_FOUND|BUILD_FAILED|GREEN_UNHEALTHY|SWITCH_EXPIRED|STOPPED_WHILE_READY|ROLLED_BACK_AFTER_SWITCH" }}
rules:
- alert: PandaAbsent
  expr: absent(panda_deployments_driven{ {{- $of -}} })
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: No replica of Panda is scraped.
    description: Deployments stand still, and the API does not respond.
    runbook_url: {{ $rules.runbookUrl }}#pandaabsent
- alert: PandaDatabaseTrouble
  expr: min(panda_database_trouble{ {{- $of -}} }) > 0
  for: 2m
  labels:
    severity: critical
  annotations:
    summary: No replica of Panda can write to the database.
    description: Deployments stand still, and commands are refused with 503. Nothing is lost.
    runbook_url: {{ $rules.runbookUrl }}#pandadatabasetrouble
- alert: PandaDeploymentOverdue
  expr: max(panda_oldest_overdue_seconds{ {{- $of -}} }) > {{ $rules.overdueSeconds }}
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: A deployment has been stuck for {{ "{{ $value | humanizeDuration }}" }}.
    description: It could progress and no replica claims it, or a replica holds it beyond its step's time limit.
    runbook_url: {{ $rules.runbookUrl }}#pandadeploymentoverdue
- alert: PandaReplicaFull
  expr: min(panda_deployments_driven{ {{- $of -}} }) >= {{ div (mul $most 9) 10 }}
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Every replica of Panda advances {{ "{{ $value }}" }} deployments or more, of at most {{ $most }}.
    description: When all are full, new deployments wait.
    runbook_url: {{ $rules.runbookUrl }}#pandareplicafull
- alert: PandaEventsHeldBack
  expr: max(panda_events_held_back_seconds{ {{- $of -}} }) > {{ $rules.heldBackSeconds }}
  for: 2m
  labels:
    severity: warning
  annotations:
    summary: The stream of all deployments is {{ "{{ $value | humanizeDuration }}" }} late.
    description: A transaction that writes has been open for that long in the Postgres cluster.
    runbook_url: {{ $rules.runbookUrl }}#pandaeventsheldback
- alert: PandaBuildsWait
  expr: max(panda_deployments{ {{- $of }}, state="waiting_for_build"}) > 0
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: Deployments wait for a build permit ({{ "{{ $value }}" }}).
    description: All replicas use all their build permits.
    runbook_url: {{ $rules.runbookUrl }}#pandabuildswait
- alert: PandaCredentialsRefused
  expr: max(panda_deployments{ {{- $of }}, state="awaiting_renewal"}) > 0
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: AWS refuses the credentials of {{ "{{ $value }}" }} deployments.
    description: They wait until their connections are renewed, for a day at most unless they await their switch.
    runbook_url: {{ $rules.runbookUrl }}#pandacredentialsrefused
- alert: PandaReplicaLate
  expr: histogram_quantile(0.99, sum by (le, pod) (rate(panda_lateness_seconds_bucket{ {{- $of -}} }[10m]))) > 1
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: A replica polls its deployments {{ "{{ $value | humanizeDuration }}" }} late.
    description: Its processor or the database is overloaded.
    runbook_url: {{ $rules.runbookUrl }}#pandareplicalate
- alert: PandaOwnershipLost
  expr: sum(increase(panda_ownership_lost_total{ {{- $of -}} }[15m])) > 3
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Replicas lose deployments to each other.
    description: A process or the database stands still for longer than the lease.
    runbook_url: {{ $rules.runbookUrl }}#pandaownershiplost
- alert: PandaReconcilerWaits
  expr: max(rate(panda_database_wait_seconds_total{ {{- $of }}, class="reconcile"}[5m])) > 0.5
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Claims and commits of a replica wait for a connection to the database.
    description: Deployments advance late. The reconciler uses up its dedicated share of the connections.
    runbook_url: {{ $rules.runbookUrl }}#pandareconcilerwaits
- alert: PandaDatabaseRejected
  expr: sum by (class) (increase(panda_database_rejected_total{ {{- $of -}} }[10m])) > 10
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Work of the class {{ "{{ $labels.class }}" }} times out waiting for a connection to the database.
    description: Requests and reports get 503; other classes are not affected.
    runbook_url: {{ $rules.runbookUrl }}#pandadatabaserejected
- alert: PandaListenersBreakOff
  expr: sum(increase(panda_listener_reconnects_total{ {{- $of -}} }[15m])) > 5
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Connections that listen to the database break repeatedly.
    description: Streams receive events up to a second late.
    runbook_url: {{ $rules.runbookUrl }}#pandalistenersbreakoff
- alert: PandaStreamsFull
  expr: max(panda_streams{ {{- $of -}} }) >= {{ div (mul $streams 9) 10 }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A replica has {{ "{{ $value }}" }} event streams open, of at most {{ $streams }}.
    description: Further readers get 429.
    runbook_url: {{ $rules.runbookUrl }}#pandastreamsfull
- alert: PandaAwsTrouble
  expr: |-
    sum by (call) (rate(panda_aws_requests_total{ {{- $of }}, outcome=~"throttled|unavailable"}[10m]))
      / sum by (call) (rate(panda_aws_requests_total{ {{- $of -}} }[10m])) > {{ divf $rules.awsTroublePercent 100 }}
      and sum by (call) (increase(panda_aws_requests_total{ {{- $of }}, outcome=~"throttled|unavailable"}[10m])) > 5
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Of the requests {{ "{{ $labels.call }}, {{ $value | humanizePercentage }}" }} are throttled or get no response.
    description: Panda retries them, so deployments are late; they fail after the step's time limit.
    runbook_url: {{ $rules.runbookUrl }}#pandaawstrouble
- alert: PandaAwsBudgetScarce
  expr: sum by (call, account) (rate(panda_aws_budget_wait_seconds_total{ {{- $of -}} }[15m])) > 50
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: On average {{ "{{ $value | humanize }} calls {{ $labels.call }}" }} wait for the quota of their AWS account.
    description: Deployments poll less often than configured, so that they notice progress late. None fails because of it.
    runbook_url: {{ $rules.runbookUrl }}#pandaawsbudgetscarce
- alert: PandaBusPolicyNearlyFull
  expr: max(panda_event_bus_policy_bytes{ {{- $of -}} }) >= 8192
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: The policy of the event bus has {{ "{{ $value }}" }} of 10240 bytes.
    description: When it is full, deployments to further AWS accounts fail.
    runbook_url: {{ $rules.runbookUrl }}#pandabuspolicynearlyfull
- alert: PandaEventRulesNearlyFull
  expr: max(panda_event_rules{ {{- $of -}} }) >= 240
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: An AWS account has {{ "{{ $value }}" }} of 300 event rules in a region.
    description: When its quota is used up, deployments of further repositories to that account fail.
    runbook_url: {{ $rules.runbookUrl }}#pandaeventrulesnearlyfull
- alert: PandaDeploymentsFail
  expr: |-
    sum(increase(panda_deployment_failures_total{ {{- $of }}, error_code!~"{{ $ofSource }}"}[1h]))
      / sum(increase(panda_deployment_changes_total{ {{- $of }}, status=~"FAILED|DEPLOYMENT_READY"}[1h])) > {{ divf $rules.failedPercent 100 }}
      and sum(increase(panda_deployment_failures_total{ {{- $of }}, error_code!~"{{ $ofSource }}"}[1h])) > 2.5
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Of the deployments of the last hour {{ "{{ $value | humanizePercentage }}" }} failed for reasons outside their repository.
    description: A shared dependency is broken, such as the engine, the registry, the pipeline or an AWS permission.
    runbook_url: {{ $rules.runbookUrl }}#pandadeploymentsfail
- alert: PandaStepRetries
  expr: sum by (step) (increase(panda_step_retries_total{ {{- $of -}} }[15m])) > 20
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: The step {{ "{{ $labels.step }}" }} fails temporarily again and again.
    description: Its deployments wait, and fail after the step's time limit.
    runbook_url: {{ $rules.runbookUrl }}#pandastepretries
- alert: PandaBuilderTrouble
  expr: |-
    sum(increase(panda_build_faults_total{ {{- $of }}, fault="disk_full"}[15m])) > 0.5
      or sum(increase(panda_build_faults_total{ {{- $of }}, fault=~"registry_unavailable|out_of_memory"}[15m])) > 9.5
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: Builds lack disk, memory or a registry.
    description: The builder's disk is full, its steps are killed for their memory, or registries of base images do not respond. Builds wait and are repeated until their time limit.
    runbook_url: {{ $rules.runbookUrl }}#pandabuildertrouble
- alert: PandaStreamsLate
  expr: histogram_quantile(0.99, sum by (le, pod) (rate(panda_hub_lag_seconds_bucket{ {{- $of -}} }[10m]))) > 1
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Events reach the streams of a replica {{ "{{ $value | humanizeDuration }}" }} late.
    description: The database is slow, or the replica's processor is overloaded.
    runbook_url: {{ $rules.runbookUrl }}#pandastreamslate
- alert: PandaMaintenanceFailed
  expr: |-
    sum by (kind, pod) (increase(panda_maintenance_runs_total{ {{- $of }}, end="failed"}[6h]))
      > sum by (kind, pod) (increase(panda_maintenance_runs_total{ {{- $of }}, end="done"}[6h]))
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: Maintenance of {{ "{{ $labels.kind }}" }} fails in {{ "{{ $labels.pod }}" }}.
    description: The data that it would have deleted takes disk space until a later run succeeds.
    runbook_url: {{ $rules.runbookUrl }}#pandamaintenancefailed
- alert: PandaSchedulesOverdue
  expr: max(panda_schedules_overdue_seconds{ {{- $of -}} }) > 60
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A schedule has been due for {{ "{{ $value | humanizeDuration }}" }}, and no replica runs it.
    description: Scheduled deployments start late.
    runbook_url: {{ $rules.runbookUrl }}#pandaschedulesoverdue
- alert: PandaSchedulesFail
  expr: sum(increase(panda_schedule_runs_total{ {{- $of }}, result="failed"}[1h])) > 0
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: Schedules started nothing, and need a fix.
    description: A connection was removed, or a permission ended; no user sees a deployment that never began.
    runbook_url: {{ $rules.runbookUrl }}#pandaschedulesfail
- alert: PandaWebhooksLate
  expr: max(panda_receiver_lag_seconds{ {{- $of -}} }) > 60
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: An event has waited {{ "{{ $value | humanizeDuration }}" }} for its delivery to a webhook or channel.
    description: A receiver answers slowly, or no replica delivers to it.
    runbook_url: {{ $rules.runbookUrl }}#pandawebhookslate
- alert: PandaWebhookDeadLetters
  expr: sum(increase(panda_receiver_deliveries_total{ {{- $of }}, result="dead"}[1h])) > 0
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: Events were not delivered to a webhook or channel, and are not tried again.
    description: The receiver refused them for days, or answered 410. They can be replayed.
    runbook_url: {{ $rules.runbookUrl }}#pandawebhookdeadletters
- alert: PandaPushesRejected
  expr: sum(increase(panda_push_deliveries_total{ {{- $of }}, decision="rejected"}[1h])) > 0
  for: 1m
  labels:
    severity: warning
  annotations:
    summary: Pushes to GitHub were received, and started no deployment.
    description: The permission of a push hook's owner has ended, a connection was removed, or a target was taken. The deliveries can be decided again.
    runbook_url: {{ $rules.runbookUrl }}#pandapushesrejected
{{- /* Burn rates of the error budgets: 14.4 times the budget of 30 days uses 2 % of it in an hour, 6 times uses 5 % in six hours. */}}
{{- $slo := $rules.slo }}
{{- $budgets := list }}
{{- with $slo.apiPercent }}
{{- $bad := printf "panda_http_requests_total{%s, status=\"5xx\"}" $of }}
{{- $all := printf "panda_http_requests_total{%s}" $of }}
{{- $budgets = append $budgets (dict "name" "PandaApiErrors" "bad" $bad "all" $all "percent" . "of" "the requests" "what" "are answered with 5xx" "severity" "critical") }}
{{- end }}
{{- with $slo.eventsPercent }}
{{- $fast := printf "panda_hub_lag_seconds_bucket{%s, le=\"1.0\"}" $of }}
{{- $all := printf "panda_hub_lag_seconds_bucket{%s, le=\"+Inf\"}" $of }}
{{- $budgets = append $budgets (dict "name" "PandaEventsSlow" "good" $fast "all" $all "percent" . "of" "the events" "what" "reach the streams more than a second late" "severity" "warning") }}
{{- end }}
{{- range $budget := $budgets }}
{{- range $burn := list (dict "factor" 14.4 "long" "1h" "short" "5m" "for" "2m" "suffix" "Fast") (dict "factor" 6.0 "long" "6h" "short" "30m" "for" "15m" "suffix" "") }}
{{- $limit := divf (mulf $burn.factor (subf 100 $budget.percent)) 100 }}
- alert: {{ $budget.name }}{{ $burn.suffix }}
  expr: |-
    {{- range $index, $window := list $burn.long $burn.short }}
    {{ if $index }}  and {{ end }}
    {{- if $budget.bad -}}
    sum(rate({{ $budget.bad }}[{{ $window }}])) / sum(rate({{ $budget.all }}[{{ $window }}])) > {{ $limit }}
    {{- else -}}
    1 - sum(rate({{ $budget.good }}[{{ $window }}])) / sum(rate({{ $budget.all }}[{{ $window }}])) > {{ $limit }}
    {{- end }}
    {{- end }}
    {{- /* A few errors of a few requests are no trend. */}}
      and {{ if $budget.bad }}sum(increase({{ $budget.bad }}[{{ $burn.long }}])){{ else }}sum(increase({{ $budget.all }}[{{ $burn.long }}])) - sum(increase({{ $budget.good }}[{{ $burn.long }}])){{ end }} > 9.5
  for: {{ $burn.for }}
  labels:
    severity: {{ ternary $budget.severity "warning" (ne $burn.suffix "") }}
  annotations:
    summary: Of {{ $budget.of }}, {{ "{{ $value | humanizePercentage }}" }} {{ $budget.what }}.
    description: The error budget of 30 days ({{ $budget.percent }} %) is used {{ $burn.factor }} times as fast as planned.
    runbook_url: {{ $rules.runbookUrl }}#{{ printf "%s%s" $budget.name $burn.suffix | lower }}
{{- end }}
{{- end }}
{{- end -}}
