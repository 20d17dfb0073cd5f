{{- define "cp.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}

{{- define "cp.selector" -}}
app.kubernetes.io/name: control-plane
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "cp.labels" -}}
{{ include "cp.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "cp.host" -}}{{ regexReplaceAll ":[0-9]+$" .Values.controlPlaneEndpoint "" | trimPrefix "[" | trimSuffix "]" }}{{- end -}}
{{- define "cp.isAddress" -}}{{ if or (regexMatch "^[0-9.]+$" (include "cp.host" .)) (contains ":" (include "cp.host" .)) }}yes{{ end }}{{- end -}}

{{/* The API server as the other pods reach it. */}}
{{- define "cp.internal" -}}{{ include "cp.name" . }}-apiserver.{{ .Release.Namespace }}.svc:{{ .Values.apiServer.port }}{{- end -}}

{{- define "cp.etcdNames" -}}
{{- $list := list -}}
{{- range $i := until (int .Values.etcd.replicas) -}}
{{- $list = append $list (printf "%s-etcd-%d" (include "cp.name" $) $i) -}}
{{- end -}}
{{ $list | join "," }}
{{- end -}}
{{- define "cp.etcdDomain" -}}{{ include "cp.name" . }}-etcd.{{ .Release.Namespace }}.svc{{- end -}}
{{- define "cp.etcdEndpoints" -}}
{{- $list := list -}}
{{- range $name := splitList "," (include "cp.etcdNames" .) -}}
{{- $list = append $list (printf "https://%s.%s:2379" $name (include "cp.etcdDomain" $)) -}}
{{- end -}}
{{ $list | join "," }}
{{- end -}}

{{- define "cp.image" -}}{{ .image.repository | default (printf "%s/%s" .root.Values.imageRegistry .name) }}:{{ .tag }}{{- end -}}
{{- define "cp.tools" -}}
{{- with .Values.admin.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Values.kubernetesVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "cp.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "cp.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "cp.spread" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "cp.selector" . | nindent 12 }}
{{- end -}}

{{/* Files of kubeadm's layout out of Secrets: a list of [secret, path, withKey]. */}}
{{- define "cp.pki" -}}
projected:
  defaultMode: 0440
  sources:
    {{- range .files }}
    - secret:
        name: {{ include "cp.name" $.root }}-pki-{{ index . 0 }}
        items:
          - { key: tls.crt, path: {{ index . 1 }}.{{ if eq (index . 0) "sa" }}pub{{ else }}crt{{ end }} }
          {{- if index . 2 }}
          - { key: tls.key, path: {{ index . 1 }}.key }
          {{- end }}
    {{- end }}
{{- end -}}

{{/* A container of the tools' image that runs one of the scripts. */}}
{{- define "cp.script" -}}
name: {{ .script }}
image: {{ include "cp.tools" .root }}
imagePullPolicy: {{ .root.Values.imagePullPolicy }}
command: [/bin/sh, /scripts/{{ .script }}.sh]
securityContext: {{- include "cp.confined" .root | nindent 2 }}
{{- end -}}

{{- define "cp.args" -}}
{{- range $key, $value := . }}
- {{ printf "--%s=%v" $key $value | quote }}
{{- end }}
{{- end -}}

{{- define "cp.check" -}}
{{- if not (regexMatch "^.+:[0-9]+$" .Values.controlPlaneEndpoint) -}}
{{- fail "controlPlaneEndpoint: give HOST:PORT of the API server as nodes reach it" -}}
{{- end -}}
{{- if semverCompare "<1.34.0-0" (trimPrefix "v" .Values.kubernetesVersion) -}}
{{- fail "kubernetesVersion: 1.34 or newer" -}}
{{- end -}}
{{- if not (has (int .Values.etcd.replicas) (list 1 3 5)) -}}
{{- fail "etcd.replicas: 1, 3 or 5" -}}
{{- end -}}
{{- end -}}

{{- define "cp.apiserverNames" -}}
{{- $service := printf "%s-apiserver" (include "cp.name" .) -}}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) "localhost" "127.0.0.1" (include "cp.host" .) -}}
{{- with .Values.apiServer.service.loadBalancerIP }}{{ $names = append $names . }}{{ end -}}
{{- /* konnectivity's agents are shown the same certificate. */ -}}
{{- if .Values.konnectivity.enabled }}{{ with .Values.konnectivity.host }}{{ $names = append $names . }}{{ end }}{{ end -}}
{{- concat $names .Values.certificates.extraSANs | uniq | toYaml -}}
{{- end -}}

{{- define "cp.etcdSANs" -}}
{{- list "localhost" "127.0.0.1" (include "cp.etcdDomain" .) (printf "*.%s" (include "cp.etcdDomain" .)) | toYaml -}}
{{- end -}}

{{/* Every Secret of the PKI. */}}
{{- define "cp.secrets" -}}
{{- range list "ca" "front-proxy-ca" "etcd-ca" "sa" "apiserver" "apiserver-kubelet-client" "apiserver-etcd-client" "front-proxy-client" "etcd-server" "etcd-peer" "etcd-healthcheck-client" "controller-manager" "scheduler" "admin" "konnectivity-server" }}
- {{ include "cp.name" $ }}-pki-{{ . }}
{{- end }}
{{- end -}}

{{/* First address of a service range, which the Service `kubernetes` has. */}}
{{- define "cp.firstService" -}}
{{- $parts := splitList "." (splitList "/" . | first) -}}
{{ index $parts 0 }}.{{ index $parts 1 }}.{{ index $parts 2 }}.{{ add1 (int (index $parts 3)) }}
{{- end -}}
