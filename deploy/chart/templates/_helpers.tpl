{{- define "userns-probe.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* A file of files/ with the namespace and the runbooks of the values, of a dict with `root` and `file`. */ -}}
{{- define "userns-probe.file" -}}
{{- $namespace := .root.Values.namespace.name -}}
{{- .root.Files.Get (printf "files/%s.yaml" .file)
  | replace "namespace: userns-probe\n" (printf "namespace: %s\n" $namespace)
  | replace "serviceaccount:userns-probe:" (printf "serviceaccount:%s:" $namespace)
  | replace "[kube-system, userns-probe]" (printf "[kube-system, %s]" $namespace)
  | replace "runbook_url: docs/" (printf "runbook_url: %sdocs/" .root.Values.prometheus.runbookBase) -}}
{{- end -}}
