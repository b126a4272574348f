{{/* Lists of Panda's container and pod, to which values may add items: variables, mounts, volumes. */}}

{{- define "panda.serverEnv" -}}
{{- $v := .Values -}}
{{- include "panda.databaseEnv" (dict "root" .) }}
- name: PANDA_KEY_FILE
  value: {{ default "/etc/panda/keys/keys" $v.keys.file | quote }}
- name: PANDA_MIGRATE
  value: {{ eq (include "panda.migrations" .) "start" | quote }}
- name: PANDA_LISTEN
  value: {{ printf (ternary "[%s]:%d" "%s:%d" (contains ":" $v.bindAddress)) $v.bindAddress (int $v.containerPort) | quote }}
{{- with $v.metrics.port }}
- name: PANDA_METRICS_LISTEN
  value: {{ printf (ternary "[%s]:%d" "%s:%d" (contains ":" $v.bindAddress)) $v.bindAddress (int .) | quote }}
{{- end }}
{{- with $v.basePath }}
- name: PANDA_BASE_PATH
  value: {{ . | quote }}
{{- end }}
{{- with $v.rollout.buildDrainSeconds }}
- name: PANDA_BUILD_DRAIN_MS
  value: {{ mul (int64 .) 1000 | quote }}
{{- end }}
- name: PANDA_AUTH
  value: {{ $v.auth.mode }}
{{- if or $v.auth.adminToken.existingSecret $v.auth.adminToken.file $v.auth.adminToken.value }}
- name: PANDA_ADMIN_TOKEN_FILE
  value: {{ default "/etc/panda/admin-token/token" $v.auth.adminToken.file | quote }}
{{- end }}
{{- if or $v.auth.oidc.existingSecret $v.auth.oidc.file $v.auth.oidc.issuers }}
- name: PANDA_OIDC_FILE
  value: {{ default "/etc/panda/oidc/oidc.json" $v.auth.oidc.file | quote }}
{{- end }}
{{- if $v.tls.existingSecret }}
- name: PANDA_TLS_CERT
  value: /etc/panda/tls/tls.crt
- name: PANDA_TLS_KEY
  value: /etc/panda/tls/tls.key
{{- end }}
{{- if eq $v.builder.mode "remote" }}
- name: PANDA_DOCKER_HOST
  value: {{ $v.builder.remote.host | quote }}
{{- if $v.builder.remote.tlsSecret }}
- name: PANDA_DOCKER_CERT_PATH
  value: /etc/panda/engine
{{- end }}
{{- else if eq $v.builder.mode "rootless" }}
- name: PANDA_DOCKER_HOST
  value: unix:///engine/docker.sock
{{- end }}
- name: PANDA_WORKSPACE_DIR
  value: /workspaces/panda
- name: PANDA_LOG_FORMAT
  value: {{ $v.log.format }}
- name: RUST_LOG
  value: {{ $v.log.filter | quote }}
{{- with $v.tracing.endpoint }}
- name: PANDA_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- with $v.tracing.resourceAttributes }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ . | quote }}
{{- end }}
{{- with $v.tracing.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $v.tracing.headersSecretKey | quote }}
{{- end }}
{{- end }}
{{- range $key, $value := $v.config }}
- name: PANDA_{{ $key | snakecase | upper }}
  value: {{ include "panda.optionValue" $value | quote }}
{{- end }}
{{- with $v.aws.existingSecret }}
{{- range $key := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $v.aws.existingSecret | quote }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "panda.serverMounts" -}}
{{- $v := .Values -}}
- name: tmp
  mountPath: /tmp
- name: workspaces
  mountPath: /workspaces
{{- if not $v.keys.file }}
- name: keys
  mountPath: /etc/panda/keys
  readOnly: true
{{- end }}
{{- if and (or $v.auth.adminToken.existingSecret $v.auth.adminToken.value) (not $v.auth.adminToken.file) }}
- name: admin-token
  mountPath: /etc/panda/admin-token
  readOnly: true
{{- end }}
{{- if and (or $v.auth.oidc.existingSecret $v.auth.oidc.issuers) (not $v.auth.oidc.file) }}
- name: oidc
  mountPath: /etc/panda/oidc
  readOnly: true
{{- end }}
{{- if $v.auth.oidc.clientSecret.existingSecret }}
- name: oidc-client
  mountPath: /etc/panda/oidc-client
  readOnly: true
{{- end }}
{{- if $v.tls.existingSecret }}
- name: tls
  mountPath: /etc/panda/tls
  readOnly: true
{{- end }}
{{- include "panda.databaseMounts" (dict "root" .) }}
{{- if eq $v.builder.mode "rootless" }}
- name: engine
  mountPath: /engine
{{- else if and (eq $v.builder.mode "remote") $v.builder.remote.tlsSecret }}
- name: engine-tls
  mountPath: /etc/panda/engine
  readOnly: true
{{- end }}
{{- end -}}

{{- define "panda.serverVolumes" -}}
{{- $v := .Values -}}
{{- $name := include "panda.fullname" . -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: workspaces
  {{- if $v.workspace.volume }}
  {{- toYaml $v.workspace.volume | nindent 2 }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $v.workspace.sizeLimit }}
  {{- end }}
{{- if not $v.keys.file }}
- name: keys
  secret:
    secretName: {{ default $name $v.keys.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ ternary $v.keys.existingSecretKey "keys" (ne $v.keys.existingSecret "") | quote }}
        path: keys
{{- end }}
{{- if and (or $v.auth.adminToken.existingSecret $v.auth.adminToken.value) (not $v.auth.adminToken.file) }}
- name: admin-token
  secret:
    secretName: {{ default $name $v.auth.adminToken.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ ternary $v.auth.adminToken.existingSecretKey "admin-token" (ne $v.auth.adminToken.existingSecret "") | quote }}
        path: token
{{- end }}
{{- if and (or $v.auth.oidc.existingSecret $v.auth.oidc.issuers) (not $v.auth.oidc.file) }}
- name: oidc
  secret:
    secretName: {{ default $name $v.auth.oidc.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ ternary $v.auth.oidc.existingSecretKey "oidc.json" (ne $v.auth.oidc.existingSecret "") | quote }}
        path: oidc.json
{{- end }}
{{- with $v.auth.oidc.clientSecret.existingSecret }}
- name: oidc-client
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items:
      - key: {{ $v.auth.oidc.clientSecret.existingSecretKey | quote }}
        path: client-secret
{{- end }}
{{- with $v.tls.existingSecret }}
# Without `items`, because a renewed certificate replaces all files together.
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- include "panda.databaseVolumes" (dict "root" .) }}
{{- if eq $v.builder.mode "rootless" }}
- name: engine
  emptyDir:
    sizeLimit: 1Mi
- name: engine-data
  emptyDir:
    sizeLimit: {{ $v.builder.rootless.sizeLimit }}
{{- else if and (eq $v.builder.mode "remote") $v.builder.remote.tlsSecret }}
- name: engine-tls
  secret:
    secretName: {{ $v.builder.remote.tlsSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}
