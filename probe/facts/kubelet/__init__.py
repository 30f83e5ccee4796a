"""The kubelet: its process, arguments, configuration files and version."""
