{{/* Settings of the program: variables, and the files that they name. */}}

{{/* Broker: where it is and which Secret holds user and password, in trials those of the chart's own. */}}
{{- define "pitchfleet.broker" -}}
{{- $name := include "pitchfleet.fullname" . -}}
{{- $broker := .Values.broker -}}
{{- if .Values.trial.enabled }}
host: {{ $name }}-rabbitmq
port: 5672
scheme: amqp
vhost: /
managementUrl: http://{{ $name }}-rabbitmq:15672
secret: {{ $name }}-broker
usernameKey: username
passwordKey: password
{{- else }}
host: {{ $broker.host }}
port: {{ $broker.port | default (ternary 5671 5672 $broker.tls) | int64 }}
scheme: {{ ternary "amqps" "amqp" $broker.tls }}
vhost: {{ $broker.vhost | quote }}
managementUrl: {{ $broker.managementUrl | trimSuffix "/" | quote }}
secret: {{ $broker.existingSecret.name | default (printf "%s-broker" $name) }}
usernameKey: {{ ternary $broker.existingSecret.usernameKey "username" (ne $broker.existingSecret.name "") }}
passwordKey: {{ ternary $broker.existingSecret.passwordKey "password" (ne $broker.existingSecret.name "") }}
{{- end }}
{{- end }}

{{/* Bucket: where it is and which Secret holds its keys; none with the cloud's identity. */}}
{{- define "pitchfleet.store" -}}
{{- $name := include "pitchfleet.fullname" . -}}
{{- $store := .Values.store -}}
{{- if .Values.trial.enabled }}
bucket: pitchfleet
endpoint: http://{{ $name }}-garage:3900
region: garage
secret: {{ $name }}-store
accessKeyKey: access-key
secretKeyKey: secret-key
{{- else }}
bucket: {{ $store.bucket | quote }}
endpoint: {{ $store.endpoint | quote }}
region: {{ $store.region | quote }}
secret: {{ ternary "" ($store.existingSecret.name | default (printf "%s-store" $name)) $store.cloudIdentity | quote }}
accessKeyKey: {{ ternary $store.existingSecret.accessKeyKey "access-key" (ne $store.existingSecret.name "") }}
secretKeyKey: {{ ternary $store.existingSecret.secretKeyKey "secret-key" (ne $store.existingSecret.name "") }}
{{- end }}
{{- end }}

{{- define "pitchfleet.tokensSecret" -}}
{{- .Values.api.tokensSecret | default (printf "%s-tokens" (include "pitchfleet.fullname" .)) -}}
{{- end }}

{{- define "pitchfleet.secretsFolder" -}}/run/secrets/pitchfleet{{- end }}

{{/* An inline table of TOML for each of `sources`. */}}
{{- define "pitchfleet.sources" -}}
{{- $tables := list -}}
{{- range . -}}
{{- $keys := list (printf "bucket = %s" (toJson .bucket)) -}}
{{- with .prefix }}{{ $keys = append $keys (printf "prefix = %s" (toJson .)) }}{{ end -}}
{{- with .tenants }}{{ $keys = append $keys (printf "tenants = %s" (toJson .)) }}{{ end -}}
{{- with .endpoint }}{{ $keys = append $keys (printf "endpoint = %s" (toJson .)) }}{{ end -}}
{{- with .region }}{{ $keys = append $keys (printf "region = %s" (toJson .)) }}{{ end -}}
{{- if hasKey . "pathStyle" }}{{ $keys = append $keys (printf "path_style = %t" .pathStyle) }}{{ end -}}
{{- $tables = append $tables (printf "{ %s }" (join ", " $keys)) -}}
{{- end -}}
[{{ join ", " $tables }}]
{{- end }}

{{/* Variables of API and workers alike. */}}
{{- define "pitchfleet.env" -}}
{{- $broker := include "pitchfleet.broker" . | fromYaml -}}
{{- $store := include "pitchfleet.store" . | fromYaml -}}
{{- $secrets := include "pitchfleet.secretsFolder" . -}}
- name: PITCHFLEET_BROKER_URL
  value: {{ printf "%s://%s:%d/%s" $broker.scheme $broker.host (int64 $broker.port) ($broker.vhost | urlquery | replace "+" "%20") }}
- name: PITCHFLEET_BROKER_USER
  valueFrom:
    secretKeyRef: {name: {{ $broker.secret }}, key: {{ $broker.usernameKey }}}
- name: PITCHFLEET_BROKER_PASSWORD_FILE
  value: {{ $secrets }}/broker-password
- name: PITCHFLEET_BROKER_PREFIX
  value: {{ .Values.broker.prefix | quote }}
{{- if .Values.broker.authorities.configMap }}
- name: PITCHFLEET_BROKER_CERTIFICATES
  value: {{ $secrets }}/broker-authorities.pem
{{- end }}
- name: PITCHFLEET_STORE_BUCKET
  value: {{ $store.bucket | quote }}
- name: PITCHFLEET_STORE_REGION
  value: {{ $store.region | quote }}
{{- with $store.endpoint }}
- name: PITCHFLEET_STORE_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.store.publicEndpoint }}
- name: PITCHFLEET_STORE_PUBLIC_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if ne nil .Values.store.pathStyle }}
- name: PITCHFLEET_STORE_PATH_STYLE
  value: {{ .Values.store.pathStyle | quote }}
{{- end }}
{{- with .Values.store.prefix }}
- name: PITCHFLEET_STORE_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if $store.secret }}
- name: PITCHFLEET_STORE_ACCESS_KEY_FILE
  value: {{ $secrets }}/store-access-key
- name: PITCHFLEET_STORE_SECRET_KEY_FILE
  value: {{ $secrets }}/store-secret-key
{{- end }}
{{- if .Values.sourcesSecret }}
- name: PITCHFLEET_SOURCES_FILE
  value: {{ $secrets }}/sources.toml
{{- else if .Values.sources }}
- name: PITCHFLEET_SOURCES
  value: {{ include "pitchfleet.sources" .Values.sources | quote }}
{{- end }}
{{- with .Values.log.filter }}
- name: PITCHFLEET_LOG_FILTER
  value: {{ . | quote }}
{{- end }}
- name: PITCHFLEET_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- with .Values.trace.endpoint }}
- name: PITCHFLEET_TRACE_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The secrets of API and workers alike, as sources of a projected volume. */}}
{{- define "pitchfleet.secrets" -}}
{{- $broker := include "pitchfleet.broker" . | fromYaml -}}
{{- $store := include "pitchfleet.store" . | fromYaml -}}
- secret:
    name: {{ $broker.secret }}
    items:
      - {key: {{ $broker.passwordKey }}, path: broker-password}
{{- with .Values.broker.authorities }}
{{- if .configMap }}
- configMap:
    name: {{ .configMap }}
    items:
      - {key: {{ .key }}, path: broker-authorities.pem}
{{- end }}
{{- end }}
{{- if $store.secret }}
- secret:
    name: {{ $store.secret }}
    items:
      - {key: {{ $store.accessKeyKey }}, path: store-access-key}
      - {key: {{ $store.secretKeyKey }}, path: store-secret-key}
{{- end }}
{{- with .Values.sourcesSecret }}
- secret:
    name: {{ . }}
    items:
      - {key: sources.toml, path: sources.toml}
{{- end }}
{{- end }}

{{/* Makes pods new when a secret changes that the chart itself writes. */}}
{{- define "pitchfleet.secretsChecksum" -}}
{{- $values := list .Values.broker.username .Values.broker.password .Values.store.accessKey .Values.store.secretKey -}}
{{- append $values .Values.trial.secrets | toJson | sha256sum -}}
{{- end }}
