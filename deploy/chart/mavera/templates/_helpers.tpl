{{- define "mavera.fullname" -}}
{{- if contains "mavera" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-mavera" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mavera.selector" -}}
app.kubernetes.io/name: mavera
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mavera.labels" -}}
{{ include "mavera.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mavera.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* A pod's secrets, as files. Each is the value of one setting. */}}
{{- define "mavera.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
{{- range $setting, $from := .Values.secrets }}
      - secret:
          name: {{ $from.name }}
          items:
            - key: {{ $from.key }}
              path: {{ $setting }}
{{- end }}
{{- end }}

{{/* The settings of every pod. They stand here and not in a ConfigMap, so that the hook can use them on a first
     install, and so that a change of a setting starts new pods. */}}
{{- define "mavera.env" -}}
- name: MAVERA_DATA_DIR
  value: /data
- name: MAVERA_HOST
  value: "0.0.0.0"
- name: MAVERA_LOG_FORMAT
  value: json
{{- range $setting, $from := .Values.secrets }}
- name: MAVERA_{{ upper $setting }}_FILE
  value: /run/mavera/{{ $setting }}
{{- end }}
{{- range $setting, $value := .Values.settings }}
- name: MAVERA_{{ upper $setting }}
  value: {{ if kindIs "float64" $value }}{{ printf "%v" $value | quote }}{{ else }}{{ toString $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{- define "mavera.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "mavera.volumes" -}}
{{ include "mavera.secretVolume" . }}
- name: data
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- end }}

{{- define "mavera.mounts" -}}
- name: secrets
  mountPath: /run/mavera
  readOnly: true
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
{{- end }}
