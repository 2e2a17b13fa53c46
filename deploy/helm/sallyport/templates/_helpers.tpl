{{/* The name of everything in a release. */}}
{{- define "sallyport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sallyport.labels" -}}
{{ include "sallyport.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "sallyport.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sallyport.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The Secret that certificate and key are in, if they are in one. */}}
{{- define "sallyport.identitySecret" -}}
{{- if eq .Values.identity.source "secret" -}}
{{- required "identity.secret.name: say which Secret has the certificate and the key" .Values.identity.secret.name -}}
{{- else if eq .Values.identity.source "certManager" -}}
{{- include "sallyport.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{/* The file with the CAs of the peers; nothing if they come with the identity or are the system's. */}}
{{- define "sallyport.caFile" -}}
{{- if or .Values.trust.secret .Values.trust.configMap -}}
/etc/sallyport/trust/{{ .Values.trust.key }}
{{- else if eq .Values.identity.source "secret" -}}
/etc/sallyport/identity/{{ .Values.identity.secret.ca }}
{{- else if eq .Values.identity.source "certManager" -}}
/etc/sallyport/identity/ca.crt
{{- end -}}
{{- end -}}

{{- define "sallyport.statusScheme" -}}
{{- if and .Values.status.tls (ne .Values.identity.source "none") -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{- define "sallyport.statusName" -}}
{{- .Values.status.serverName | default (printf "%s.%s.svc" (include "sallyport.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{/* Sallyport's flags, as a list. */}}
{{- define "sallyport.args" -}}
- {{ .Values.mode }}
- {{ printf "--listen=:%v" .Values.port | quote }}
- {{ printf "--target=%s" .Values.target | quote }}
{{- if eq .Values.mode "server" }}
{{- if .Values.unsafeTarget }}
- --unsafe-target
{{- end }}
{{- if .Values.allow.all }}
- --allow-all
{{- end }}
{{- if .Values.allow.anyone }}
- --disable-authentication
{{- end }}
{{- range $kind := list "cn" "ou" "dns" "uri" }}
{{- range index $.Values.allow $kind }}
- {{ printf "--allow-%s=%s" $kind . | quote }}
{{- end }}
{{- end }}
{{- else }}
- --unsafe-listen
{{- with .Values.serverName }}
- {{ printf "--override-server-name=%s" . | quote }}
{{- end }}
{{- range $kind := list "cn" "ou" "dns" "uri" }}
{{- range index $.Values.verify $kind }}
- {{ printf "--verify-%s=%s" $kind . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.identity.source "secret" }}
- {{ printf "--cert=/etc/sallyport/identity/%s" .Values.identity.secret.cert | quote }}
- {{ printf "--key=/etc/sallyport/identity/%s" .Values.identity.secret.key | quote }}
{{- else if eq .Values.identity.source "certManager" }}
- --cert=/etc/sallyport/identity/tls.crt
- --key=/etc/sallyport/identity/tls.key
{{- else if eq .Values.identity.source "spiffe" }}
- {{ printf "--use-workload-api-addr=unix:///spiffe-workload-api/%s" .Values.identity.spiffe.socket | quote }}
{{- else }}
- --disable-authentication
{{- end }}
- {{ printf "--shutdown-delay=%vs" .Values.drain.delay | quote }}
- {{ printf "--shutdown-timeout=%vs" .Values.drain.seconds | quote }}
{{- if .Values.drain.preStop }}
- --enable-shutdown
{{- end }}
{{- range .Values.args }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Sallyport's container. What `sallyport status` and `sallyport stop` need to know too, for
     probes of one's own and the preStop hook, is in variables rather than flags. */}}
{{- define "sallyport.container" -}}
name: sallyport
image: {{ include "sallyport.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if .Values.nativeSidecar }}
restartPolicy: Always
{{- end }}
args:
  {{- include "sallyport.args" . | nindent 2 }}
env:
  - name: SALLYPORT_STATUS
    value: {{ printf "%s://:%v" (include "sallyport.statusScheme" .) .Values.status.port | quote }}
  - name: SALLYPORT_STATUS_SERVER_NAME
    value: {{ include "sallyport.statusName" . | quote }}
  {{- with include "sallyport.caFile" . }}
  - name: SALLYPORT_CACERT
    value: {{ . | quote }}
  {{- end }}
  {{- if .Values.status.token.secret }}
  - name: SALLYPORT_STATUS_TOKEN_FILE
    value: {{ printf "/etc/sallyport/token/%s" .Values.status.token.key | quote }}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: tunnel, containerPort: {{ .Values.port }}}
  - {name: status, containerPort: {{ .Values.status.port }}}
startupProbe:
  httpGet: {path: /readyz, port: status, scheme: {{ include "sallyport.statusScheme" . | upper }}}
  periodSeconds: 1
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /livez, port: status, scheme: {{ include "sallyport.statusScheme" . | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: status, scheme: {{ include "sallyport.statusScheme" . | upper }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- if .Values.drain.preStop }}
lifecycle:
  preStop:
    exec: {command: [/sallyport, stop]}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- if include "sallyport.identitySecret" . }}
  - {name: identity, mountPath: /etc/sallyport/identity, readOnly: true}
  {{- end }}
  {{- if eq .Values.identity.source "spiffe" }}
  - {name: spiffe, mountPath: /spiffe-workload-api, readOnly: true}
  {{- end }}
  {{- if or .Values.trust.secret .Values.trust.configMap }}
  - {name: trust, mountPath: /etc/sallyport/trust, readOnly: true}
  {{- end }}
  {{- if .Values.status.token.secret }}
  - {name: token, mountPath: /etc/sallyport/token, readOnly: true}
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
