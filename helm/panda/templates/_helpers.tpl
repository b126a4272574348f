{{/* Names and labels. */}}

{{/* A Service's name begins with a letter, so a release such as 1234 gets `panda-1234`. */}}
{{- define "panda.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- $full = printf "%s-%s" .Chart.Name .Release.Name -}}
{{- end -}}
{{- $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change: a Deployment's selector is immutable. Takes (dict "root" . "component" "server"). */}}
{{- define "panda.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Fails for a label that would take a workload out of its selector. Takes (dict "labels" . "selector" . "value" NAME). */}}
{{- define "panda.checkLabels" -}}
{{- range $label, $value := .labels -}}
{{- if and (hasKey $.selector $label) (ne (toString $value) (toString (index $.selector $label))) -}}
{{- fail (printf "\n\n%s: %s is part of the selectors, and is %q. Remove it, or change nameOverride." $.value $label (index $.selector $label)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of pods, each once. None changes with a version, because that would restart pods needlessly. Takes "labels" (and "value", its name), too. */}}
{{- define "panda.podLabels" -}}
{{- $selector := include "panda.selectorLabels" . | fromYaml -}}
{{- $own := default dict .labels -}}
{{- include "panda.checkLabels" (dict "labels" .root.Values.commonLabels "selector" (omit $selector "app.kubernetes.io/component") "value" "commonLabels") -}}
{{- include "panda.checkLabels" (dict "labels" $own "selector" $selector "value" .value) -}}
{{- merge (dict) $selector $own .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels of an object, each once: the chart's, `labels`, and commonLabels. */}}
{{- define "panda.labels" -}}
{{- $selector := include "panda.selectorLabels" . | fromYaml -}}
{{- include "panda.checkLabels" (dict "labels" .root.Values.commonLabels "selector" (omit $selector "app.kubernetes.io/component") "value" "commonLabels") -}}
{{- $chart := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $chart "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- merge (dict) $selector (default dict .labels) .root.Values.commonLabels $chart | toYaml -}}
{{- end -}}

{{/* The metadata of an object: (dict "root" . "component" "server"), and optionally "name", "namespace", "labels", "annotations", which win over the chart's. */}}
{{- define "panda.metadata" -}}
name: {{ default (include "panda.fullname" .root) .name | quote }}
namespace: {{ default .root.Release.Namespace .namespace | quote }}
labels:
  {{- include "panda.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's name, from the registry of a parent chart (global.imageRegistry) where there is one. Takes (dict "root" . "image" NAME). */}}
{{- define "panda.registry" -}}
{{- $registry := index (default dict .root.Values.global) "imageRegistry" -}}
{{- if $registry -}}
{{- $parts := splitList "/" .image -}}
{{- $host := first $parts -}}
{{- $hasHost := and (gt (len $parts) 1) (or (contains "." $host) (contains ":" $host) (eq $host "localhost")) -}}
{{- printf "%s/%s" (trimSuffix "/" $registry) (ternary (rest $parts | join "/") .image $hasHost) -}}
{{- else -}}
{{- .image -}}
{{- end -}}
{{- end -}}

{{- define "panda.image" -}}
{{- $image := .Values.image -}}
{{- $name := include "panda.registry" (dict "root" . "image" $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "panda.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "panda.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Returns "true" on OpenShift, which assigns users and groups of pods itself, and refuses others. */}}
{{- define "panda.openshift" -}}
{{- include "panda.wanted" (dict "root" . "enabled" .Values.openshift "kind" "security.openshift.io/v1") -}}
{{- end -}}

{{/* The security context of pods. Takes (dict "root" . "context" PODSECURITYCONTEXT). */}}
{{- define "panda.podSecurityContext" -}}
{{- $context := .context -}}
{{- if include "panda.openshift" .root -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" "supplementalGroups" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* Fields that all pods of the release share: where they run, and how they resolve names. */}}
{{- define "panda.podFields" -}}
{{- $v := .Values -}}
{{- $fields := dict -}}
{{- range $key := list "nodeSelector" "tolerations" "priorityClassName" "schedulerName" "runtimeClassName" "dnsPolicy" "dnsConfig" "hostAliases" -}}
{{- with index $v $key -}}{{- $_ := set $fields $key . -}}{{- end -}}
{{- end -}}
{{- with concat $v.imagePullSecrets (list) -}}{{- $_ := set $fields "imagePullSecrets" . -}}{{- end -}}
{{- range index (default dict $v.global) "imagePullSecrets" -}}
{{- $secret := ternary (dict "name" .) . (kindIs "string" .) -}}
{{- $_ := set $fields "imagePullSecrets" (append (default list (index $fields "imagePullSecrets")) $secret | uniq) -}}
{{- end -}}
{{- if not (kindIs "invalid" $v.hostUsers) -}}{{- $_ := set $fields "hostUsers" $v.hostUsers -}}{{- end -}}
{{- toYaml $fields -}}
{{- end -}}

{{/* Joins a YAML list and further items (`more`), of which the last of each name (`key`) wins: Kubernetes refuses lists with duplicates, or merges them wrongly. */}}
{{- define "panda.unique" -}}
{{- $seen := dict -}}
{{- $all := list -}}
{{- $base := default list (index (fromYaml (printf "all:\n%s" .base)) "all") -}}
{{- range reverse (concat $base (default list .more)) -}}
{{- $name := toString (index . $.key) -}}
{{- if not (hasKey $seen $name) -}}
{{- $_ := set $seen $name true -}}
{{- $all = prepend $all . -}}
{{- end -}}
{{- end -}}
{{- if $all -}}{{- toYaml $all -}}{{- end -}}
{{- end -}}

{{/* Writes a value as YAML. Three expressions are replaced in it: the release's name and namespace, and the name of the chart's objects. Everything else stays, such as
templates of other programs. Takes (dict "root" . "what" VALUE "value" NAME). */}}
{{- define "panda.expand" -}}
{{- $text := kindIs "string" .what | ternary .what (toYaml .what) -}}
{{- $text = regexReplaceAllLiteral "\\{\\{-?\\s*\\.Release\\.Name\\s*-?\\}\\}" $text .root.Release.Name -}}
{{- $text = regexReplaceAllLiteral "\\{\\{-?\\s*\\.Release\\.Namespace\\s*-?\\}\\}" $text .root.Release.Namespace -}}
{{- $text = regexReplaceAllLiteral "\\{\\{-?\\s*(include|template)\\s+\\\\?\"panda\\.fullname\\\\?\"\\s+[.$]\\s*-?\\}\\}" $text (include "panda.fullname" .root) -}}
{{- if regexMatch "\\{\\{[^}]*(\\.(Release|Values|Chart|Capabilities)\\.|(include|tpl) )" $text -}}
{{- fail (printf "\n\n%s: only {{ .Release.Name }}, {{ .Release.Namespace }} and {{ include \"panda.fullname\" . }} are replaced; everything else stays as it is, for programs that have templates, too. An extra object with other expressions of Helm must be text (`- |`)." .value) -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- define "panda.servicePort" -}}
{{- if .Values.service.port -}}{{ .Values.service.port | int }}{{- else if .Values.tls.existingSecret -}}443{{- else -}}80{{- end -}}
{{- end -}}

{{/* The name in Panda's certificate, which the gateway verifies. */}}
{{- define "panda.backendHostname" -}}
{{- $route := .Values.httpRoute -}}
{{- default (first $route.hostnames | default "" | hasPrefix "*" | ternary "" (first $route.hostnames | default "")) $route.backendTls.hostname -}}
{{- end -}}

{{- define "panda.scheme" -}}
{{- if .Values.tls.existingSecret -}}HTTPS{{- else -}}HTTP{{- end -}}
{{- end -}}

{{/* The mode of migrations: hook, job, start or none. */}}
{{- define "panda.migrations" -}}
{{- if ne .Values.migrations.mode "auto" -}}
{{- .Values.migrations.mode -}}
{{- else if .Values.postgresql.enabled -}}
start
{{- else if include "panda.laterObjects" . -}}
job
{{- else -}}
hook
{{- end -}}
{{- end -}}

{{/* The extra objects, as one text. */}}
{{- define "panda.extraObjects" -}}
{{- range .Values.extraObjects }}
---
{{ if kindIs "string" . -}}{{ tpl . $ }}{{- else -}}{{ include "panda.expand" (dict "root" $ "what" . "value" "extraObjects") }}{{- end }}
{{- end }}
{{- end -}}

{{/* Extra objects that a job before the installation would wait for in vain: they provide its secret, volume or account, and are created after it. */}}
{{- define "panda.laterObjects" -}}
{{- $v := .Values -}}
{{- $needed := dict -}}
{{- range list (default $v.database.existingSecret $v.migrations.existingSecret) $v.database.caSecret $v.migrations.serviceAccount.name -}}
{{- with . -}}{{- $_ := set $needed . true -}}{{- end -}}
{{- end -}}
{{- range $v.migrations.volumes -}}
{{- range list (dig "csi" "volumeAttributes" "secretProviderClass" "" .) (dig "secret" "secretName" "" .) -}}
{{- with . -}}{{- $_ := set $needed . true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- range regexSplit "(?m)^---.*$" (include "panda.extraObjects" .) -1 -}}
{{- $object := fromYaml . -}}
{{- if and $object.kind (not (dig "metadata" "annotations" "helm.sh/hook" "" $object)) -}}
{{- $names := list -}}
{{- if has $object.kind (list "Secret" "SealedSecret" "SecretProviderClass" "ServiceAccount" "OnePasswordItem" "InfisicalSecret") -}}
{{- $names = list (dig "metadata" "name" "" $object) -}}
{{- else if eq $object.kind "ExternalSecret" -}}
{{- $names = list (dig "spec" "target" "name" (dig "metadata" "name" "" $object) $object) -}}
{{- else if has $object.kind (list "VaultStaticSecret" "VaultDynamicSecret" "VaultPKISecret") -}}
{{- $names = list (dig "spec" "destination" "name" "" $object) -}}
{{- else if eq $object.kind "Certificate" -}}
{{- $names = list (dig "spec" "secretName" "" $object) -}}
{{- end -}}
{{- range $names -}}
{{- if hasKey $needed . }}{{ $object.kind }} {{ . }} {{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of the job's service account. */}}
{{- define "panda.migrationAccount" -}}
{{- $v := .Values -}}
{{- if $v.migrations.serviceAccount.name -}}
{{- $v.migrations.serviceAccount.name -}}
{{- else if include "panda.ownMigrationAccount" . -}}
{{- include "panda.fullname" . }}-migrate
{{- else if or (eq (include "panda.migrations" .) "job") (not $v.serviceAccount.create) -}}
{{- include "panda.serviceAccountName" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* Returns "true" when the chart creates an account for the job: on request, and where the job needs an AWS role before the release's account exists. */}}
{{- define "panda.ownMigrationAccount" -}}
{{- $v := .Values -}}
{{- $needsRole := and $v.config.databaseIam (not (or $v.migrations.existingSecret $v.migrations.file)) -}}
{{- if or $v.migrations.serviceAccount.create (and $needsRole (eq (include "panda.migrations" .) "hook") $v.serviceAccount.create (not $v.migrations.serviceAccount.name)) -}}true{{- end -}}
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
{{- if and $v.fullnameOverride (not (regexMatch "^[a-z]" $v.fullnameOverride)) -}}
{{- fail "\n\nfullnameOverride: Kubernetes refuses a Service whose name does not begin with a letter. Set another name." -}}
{{- end -}}
{{- if not (or $v.database.existingSecret $v.database.file $v.database.url $v.postgresql.enabled) -}}
{{- fail "\n\ndatabase: Panda keeps its state in Postgres. Name a secret with the address in database.existingSecret, or the file that a sidecar writes in database.file; for trying out, set database.url or postgresql.enabled=true." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (or $v.database.existingSecret $v.database.file $v.database.url) -}}
{{- fail "\n\npostgresql.enabled: database.existingSecret, database.file or database.url names another database. Remove one of them." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (not (or $v.postgresql.existingSecret $v.postgresql.password)) -}}
{{- fail "\n\npostgresql: set postgresql.password, or name a secret with the key password in postgresql.existingSecret." -}}
{{- end -}}
{{- if and $v.postgresql.enabled (eq (include "panda.migrations" .) "hook") -}}
{{- fail "\n\nmigrations.mode=hook: the job runs before the chart's Postgres exists. Set migrations.mode=auto." -}}
{{- end -}}
{{- if and $v.database.file (or $v.database.existingSecret $v.database.url) -}}
{{- fail "\n\ndatabase.file: database.existingSecret or database.url has an address, too. Remove one of them." -}}
{{- end -}}
{{- if and $v.database.file $v.database.asFile -}}
{{- fail "\n\ndatabase.asFile: database.file is a file already. Remove database.asFile." -}}
{{- end -}}
{{- with and (eq $v.migrations.mode "hook") (include "panda.laterObjects" .) -}}
{{- fail (printf "\n\nmigrations.mode=hook: the job runs before the installation, and needs an extra object that is created after it: %s. Set migrations.mode to job or auto, or make that object a hook as well, by its annotation helm.sh/hook: pre-install,pre-upgrade." (trim .)) -}}
{{- end -}}
{{- if not (or $v.keys.existingSecret $v.keys.file $v.keys.value) -}}
{{- fail "\n\nkeys: Panda encrypts stored secrets. Create a key (`panda keys generate`), put it into a secret and name that in keys.existingSecret, or its file in keys.file; for trying out, set keys.value." -}}
{{- end -}}
{{- $signsIn := or $v.auth.tokensInDatabase $v.auth.adminToken.existingSecret $v.auth.adminToken.file $v.auth.adminToken.value $v.auth.oidc.issuers $v.auth.oidc.existingSecret $v.auth.oidc.file -}}
{{- if and (eq $v.auth.mode "required") (not $signsIn) -}}
{{- fail "\n\nauth: no credential could sign in. Name a secret with an admin token in auth.adminToken.existingSecret, or set auth.oidc.issuers or auth.oidc.existingSecret. Set auth.tokensInDatabase=true when the database has tokens already; with auth.mode=none every client that reaches Panda may do everything." -}}
{{- end -}}
{{- if and (eq $v.builder.mode "remote") (not $v.builder.remote.host) -}}
{{- fail "\n\nbuilder: which Docker engine builds? Name it in builder.remote.host (tcp://host:port), or set builder.mode to rootless (a sidecar; needs a namespace that allows privileged pods), or to none (with config.buildkit, config.builders, or an engine of extraEnv)." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "\n\ningress.hosts: name at least one host." -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "\n\nhttpRoute.parentRefs: name the Gateway, as [{name: …, namespace: …}]." -}}
{{- end -}}
{{- if and $v.httpRoute.enabled $v.tls.existingSecret $v.httpRoute.backendTls.enabled (not (include "panda.backendHostname" .)) -}}
{{- fail "\n\nhttpRoute.backendTls.hostname: with tls, the gateway verifies Panda's certificate. Set the name in it, or httpRoute.hostnames without a wildcard; httpRoute.backendTls.enabled=false leaves TLS to the gateway's own configuration." -}}
{{- end -}}
{{- $queue := $v.autoscaling.buildQueue -}}
{{- if and $v.autoscaling.enabled (eq $v.autoscaling.provider "keda") $queue.enabled (not $queue.prometheus) -}}
{{- fail "\n\nautoscaling.buildQueue.prometheus: KEDA reads the queue from Prometheus. Set its address, such as http://prometheus.monitoring.svc:9090." -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail "\n\nautoscaling.minReplicas: it is above autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and $v.metrics.port (eq (int $v.metrics.port) (int $v.containerPort)) -}}
{{- fail "\n\nmetrics.port: containerPort is the same port. Set another one, or none." -}}
{{- end -}}
{{- $names := list -}}
{{- range list "extraContainers" "extraInitContainers" -}}
{{- $value := . -}}
{{- range index $v . -}}
{{- if has .name (concat $names (list "panda" "engine")) -}}
{{- fail (printf "\n\n%s: the pod has a container named %q already. Choose another name." $value .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- range $variable := $v.extraEnv -}}
{{- if has $variable.name (list "PANDA_LISTEN" "PANDA_METRICS_LISTEN" "PANDA_BASE_PATH" "PANDA_BUILD_DRAIN_MS" "PANDA_WORKSPACE_DIR" "PANDA_TLS_CERT" "PANDA_TLS_KEY" "PANDA_MIGRATE") -}}
{{- fail (printf "\n\nextraEnv: the chart sets %s, and ports, probes or volumes depend on it. Use the chart's values: containerPort and bindAddress, metrics.port, basePath, rollout.buildDrainSeconds, workspace, tls, migrations." $variable.name) -}}
{{- end -}}
{{- end -}}
{{- if le (sub (int $v.rollout.terminationGracePeriodSeconds) (add (int $v.rollout.preStopSeconds) (int $v.rollout.buildDrainSeconds))) 7 -}}
{{- fail "\n\nrollout.terminationGracePeriodSeconds: Panda takes up to 5 seconds to end after preStopSeconds and buildDrainSeconds. Set at least 8 seconds more than both together." -}}
{{- end -}}
{{- end -}}

{{/* Variables with the database's address. Takes (dict "root" . "secret" NAME "key" KEY) or (dict "root" . "file" PATH) for another address than the servers'. */}}
{{- define "panda.databaseEnv" -}}
{{- $v := .root.Values -}}
{{- $file := default (ternary "" $v.database.file (hasKey . "secret")) .file -}}
{{- if $file }}
- name: PANDA_DATABASE_URL_FILE
  value: {{ $file | quote }}
{{- else if and $v.postgresql.enabled (not .secret) }}
- name: POSTGRES_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-postgresql" (include "panda.fullname" .root)) $v.postgresql.existingSecret | quote }}
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
      name: {{ default (default (include "panda.fullname" .root) $v.database.existingSecret) .secret | quote }}
      key: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key | quote }}
{{- end }}
{{- if and $v.database.directSecret (not .secret) (not .file) }}
{{- if $v.database.asFile }}
- name: PANDA_DATABASE_DIRECT_URL_FILE
  value: /etc/panda/database-direct-url/{{ $v.database.directSecretKey }}
{{- else }}
- name: PANDA_DATABASE_DIRECT_URL
  valueFrom:
    secretKeyRef:
      name: {{ $v.database.directSecret | quote }}
      key: {{ $v.database.directSecretKey | quote }}
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
{{- if and $v.database.asFile (not .file) (or .secret (not $v.postgresql.enabled)) }}
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
{{- if and $v.database.asFile (not .file) (or .secret (not $v.postgresql.enabled)) }}
- name: database-url
  secret:
    secretName: {{ default (default (include "panda.fullname" .root) $v.database.existingSecret) .secret | quote }}
    defaultMode: 0440
    items:
      - key: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key | quote }}
        path: {{ default (ternary $v.database.existingSecretKey "database-url" (ne $v.database.existingSecret "")) .key | quote }}
{{- if and $v.database.directSecret (not .secret) }}
- name: database-direct-url
  secret:
    secretName: {{ $v.database.directSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ $v.database.directSecretKey | quote }}
        path: {{ $v.database.directSecretKey | quote }}
{{- end }}
{{- end }}
{{- with $v.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* Formats an option of the server as a variable's value: lists with commas, whole numbers without an exponent. */}}
{{- define "panda.optionValue" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}{{- else if kindIs "float64" . -}}{{- if eq (floor .) . -}}{{ printf "%.0f" . }}{{- else -}}{{ . }}{{- end -}}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* `panda.expand` of a list, below the key `all`. */}}
{{- define "panda.expandedList" -}}
all:
  {{- with .what }}
  {{- include "panda.expand" (dict "root" $.root "what" . "value" $.value) | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Returns "true" when `helm test` has a pod: it needs a token, unless authentication is off. */}}
{{- define "panda.tested" -}}
{{- $v := .Values -}}
{{- if and $v.tests.enabled (or $v.tests.existingSecret $v.auth.adminToken.existingSecret $v.auth.adminToken.value (eq $v.auth.mode "none")) -}}true{{- end -}}
{{- end -}}
