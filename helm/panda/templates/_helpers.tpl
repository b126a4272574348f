{{/* Names and labels. */}}

{{- define "panda.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: a Deployment's selector is immutable. Takes (dict "root" . "component" "server"). */}}
{{- define "panda.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of pods. None changes with a version, because that would restart pods needlessly. */}}
{{- define "panda.podLabels" -}}
{{ include "panda.selectorLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "panda.labels" -}}
{{ include "panda.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "panda.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "panda.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "panda.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "panda.servicePort" -}}
{{- if .Values.service.port -}}{{ .Values.service.port | int }}{{- else if .Values.tls.existingSecret -}}443{{- else -}}80{{- end -}}
{{- end -}}

{{- define "panda.scheme" -}}
{{- if .Values.tls.existingSecret -}}HTTPS{{- else -}}HTTP{{- end -}}
{{- end -}}

{{/* The mode of migrations: hook, start or none. */}}
{{- define "panda.migrations" -}}
{{- if ne .Values.migrations.mode "auto" -}}
{{- .Values.migrations.mode -}}
{{- else if .Values.postgresql.enabled -}}
start
{{- else -}}
hook
{{- end -}}
{{- end -}}

{{/* Returns "true" when an object of the kind "kind" (group/version/Kind) with the switch "enabled" is wanted, else nothing. */}}
{{- define "panda.wanted" -}}
{{- if or (eq (toString .enabled) "true") (and (eq (toString .enabled) "auto") (.root.Capabilities.APIVersions.Has .kind)) -}}true{{- end -}}
{{- end -}}

{{/* Returns "true" when values contain secrets, so that the chart creates a Secret. */}}
{{- define "panda.ownSecret" -}}
{{- if or .Values.database.url .Values.keys.value .Values.auth.adminToken.value .Values.auth.oidc.issuers -}}true{{- end -}}
{{- end -}}

{{/* Fails with the remedy when a required value is missing, before anything is created. */}}
{{- define "panda.check" -}}
{{- $v := .Values -}}
{{- if not (or $v.database.existingSecret $v.database.url $v.postgresql.enabled) -}}
{{- fail "\n\ndatabase: Panda keeps its state in Postgres. Name a secret with the address in database.existingSecret; for trying out, set database.url or postgresql.enabled=true." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (or $v.database.existingSecret $v.database.url) -}}
{{- fail "\n\npostgresql.enabled: database.existingSecret or database.url names another database. Remove one of them." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (not (or $v.postgresql.existingSecret $v.postgresql.password)) -}}
{{- fail "\n\npostgresql: set postgresql.password, or name a secret with the key password in postgresql.existingSecret." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (eq (include "panda.migrations" .) "hook") -}}
{{- fail "\n\nmigrations.mode=hook: the job runs before the chart's Postgres exists. Set migrations.mode=auto." -}}
{{- end -}}
{{- if not (or $v.keys.existingSecret $v.keys.value) -}}
{{- fail "\n\nkeys: Panda encrypts stored secrets. Create a key (`panda keys generate`), put it into a secret and name that in keys.existingSecret; for trying out, set keys.value." -}}
{{- end -}}
{{- $signsIn := or $v.auth.tokensInDatabase $v.auth.adminToken.existingSecret $v.auth.adminToken.value $v.auth.oidc.issuers $v.auth.oidc.existingSecret -}}
{{- if and (eq $v.auth.mode "required") (not $signsIn) -}}
{{- fail "\n\nauth: no credential could sign in. Name a secret with an admin token in auth.adminToken.existingSecret, or set auth.oidc.issuers or auth.oidc.existingSecret. Set auth.tokensInDatabase=true when the database has tokens already; with auth.mode=none every client that reaches Panda may do everything." -}}
{{- end -}}
{{- if and (eq $v.builder.mode "remote") (not $v.builder.remote.host) -}}
{{- fail "\n\nbuilder: which Docker engine builds? Name it in builder.remote.host (tcp://host:port), or set builder.mode to rootless (a sidecar; needs a namespace that allows privileged pods) or none." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "\n\ningress.hosts: name at least one host." -}}
{{- end -}}
{{- if le (sub (int $v.rollout.terminationGracePeriodSeconds) (int $v.rollout.preStopSeconds)) 7 -}}
{{- fail "\n\nrollout.terminationGracePeriodSeconds: Panda takes up to 5 seconds to end after preStopSeconds. Set at least 8 seconds more than preStopSeconds." -}}
{{- end -}}
{{- end -}}

{{/* Variables with the database's address. Takes (dict "root" . "secret" NAME "key" KEY) for another address than the servers'. */}}
{{- define "panda.databaseEnv" -}}
{{- $v := .root.Values -}}
{{- if and $v.postgresql.enabled (not .secret) }}
- name: POSTGRES_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-postgresql" (include "panda.fullname" .root)) $v.postgresql.existingSecret }}
      key: password
- name: PANDA_DATABASE_URL
  value: postgres://panda:$(POSTGRES_PASSWORD)@{{ include "panda.fullname" .root }}-postgresql:5432/panda
{{- else if $v.database.asFile }}
- name: PANDA_DATABASE_URL_FILE
  value: /etc/panda/database-url/{{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key }}
{{- else }}
- name: PANDA_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ default (default (include "panda.fullname" .root) $v.database.existingSecret) .secret }}
      key: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key }}
{{- end }}
{{- if and $v.database.directSecret (not .secret) }}
{{- if $v.database.asFile }}
- name: PANDA_DATABASE_DIRECT_URL_FILE
  value: /etc/panda/database-direct-url/{{ $v.database.directSecretKey }}
{{- else }}
- name: PANDA_DATABASE_DIRECT_URL
  valueFrom:
    secretKeyRef:
      name: {{ $v.database.directSecret }}
      key: {{ $v.database.directSecretKey }}
{{- end }}
{{- end }}
{{- if $v.database.caSecret }}
- name: PGSSLMODE
  value: verify-full
- name: PGSSLROOTCERT
  value: /etc/panda/database/{{ $v.database.caSecretKey }}
{{- end }}
{{- end -}}

{{/* Mounts of the files that `panda.databaseEnv` refers to; takes the same arguments. */}}
{{- define "panda.databaseMounts" -}}
{{- $v := .root.Values -}}
{{- if and $v.database.asFile (or .secret (not $v.postgresql.enabled)) }}
- name: database-url
  mountPath: /etc/panda/database-url
  readOnly: true
{{- if and $v.database.directSecret (not .secret) }}
- name: database-direct-url
  mountPath: /etc/panda/database-direct-url
  readOnly: true
{{- end }}
{{- end }}
{{- if $v.database.caSecret }}
- name: database-ca
  mountPath: /etc/panda/database
  readOnly: true
{{- end }}
{{- end -}}

{{/* Volumes of these mounts. Folders rather than single files, because only folders follow a changed secret. */}}
{{- define "panda.databaseVolumes" -}}
{{- $v := .root.Values -}}
{{- if and $v.database.asFile (or .secret (not $v.postgresql.enabled)) }}
- name: database-url
  secret:
    secretName: {{ default (default (include "panda.fullname" .root) $v.database.existingSecret) .secret }}
    defaultMode: 0440
    items:
      - key: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key }}
        path: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key }}
{{- if and $v.database.directSecret (not .secret) }}
- name: database-direct-url
  secret:
    secretName: {{ $v.database.directSecret }}
    defaultMode: 0440
    items:
      - key: {{ $v.database.directSecretKey }}
        path: {{ $v.database.directSecretKey }}
{{- end }}
{{- end }}
{{- with $v.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* Formats an option of the server as a variable's value: lists with commas, whole numbers without an exponent. */}}
{{- define "panda.optionValue" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}{{- else if kindIs "float64" . -}}{{- if eq (floor .) . -}}{{ printf "%.0f" . }}{{- else -}}{{ . }}{{- end -}}{{- else -}}{{ . }}{{- end -}}
{{- end -}}
