{{/* Name of the release, 52 characters so that suffixes fit. */}}
{{- define "moonfarm.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "moonfarm.selector" -}}
app.kubernetes.io/name: moonfarm
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "moonfarm.labels" -}}
{{ include "moonfarm.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "moonfarm.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What a container of ours may do: nothing but the capabilities it is given. */}}
{{- define "moonfarm.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "moonfarm.configMap" -}}
{{- .Values.store.embedded.existingConfigMap | default (printf "%s-manifests" (include "moonfarm.name" .)) -}}
{{- end -}}

{{/* Where manifests and the files they name are mounted together. */}}
{{- define "moonfarm.manifests" -}}
- name: manifests
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ include "moonfarm.configMap" . }}
      {{- with .Values.store.embedded.existingSecret }}
      - secret:
          name: {{ . }}
      {{- end }}
{{- end -}}

{{- define "moonfarm.check" -}}
{{- if and (eq .Values.store.kind "embedded") (gt (int .Values.bootServer.replicas) 1) -}}
{{- fail "bootServer.replicas: the embedded store has one boot-server; set store.kind: kubernetes for more" -}}
{{- end -}}
{{- if and (not .Values.bootServer.hostNetwork) (not .Values.bootServer.service.enabled) -}}
{{- fail "bootServer.hostNetwork is off, so machines need a way in: set bootServer.service.enabled" -}}
{{- end -}}
{{- end -}}
