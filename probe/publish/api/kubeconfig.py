"""Address and credentials for the API server, from a kubeconfig or the service account of the Pod.

Settings of a kubeconfig that lightkube does not support are refused: a request by another route or as another user
than kubectl's is worse than none.
"""

from __future__ import annotations

import json
import os
from typing import Any

from lightkube import ConfigError, KubeConfig, SingleConfig
from lightkube.config.models import NameValue, User, UserExec

_CLUSTER = ("proxy-url", "tls-server-name")
_USER = ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider")
_EXEC_V1, _EXEC_V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"


def from_pod(service_account: str) -> SingleConfig:
    """Configuration from the directory of a service account. *Errors*: ConfigError, OSError."""
    if not os.environ.get("KUBERNETES_SERVICE_HOST") or not os.environ.get("KUBERNETES_SERVICE_PORT"):
        raise ConfigError("no kubeconfig, and not in a Pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
    found = KubeConfig.from_service_account(service_account).get()
    assert found is not None
    return found


def from_kubeconfig(paths: str, context: str | None) -> SingleConfig:
    """Configuration of *context* (None: the current one); *paths* has the format of KUBECONFIG.

    *Errors*: ConfigError, OSError, ValueError; LookupError, TypeError and AttributeError for a malformed file.
    """
    path = _only_file(paths)
    document = _read(path)
    try:
        _as_client_go_reads(document, os.path.dirname(os.path.abspath(path)))
        config = KubeConfig.from_dict(document, fname=path)
    except (AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a kubeconfig") from error
    try:
        found = config.get(context)
    except KeyError as error:
        raise ConfigError(f"the context in {path} names {error}, which is not a cluster or user there") from error
    assert found is not None
    _refuse(path, "clusters", "cluster", found.context.cluster, document, _CLUSTER)
    if found.user is None:
        return found._replace(user=User())  # anonymous, as for `kubectl proxy`
    assert found.context.user is not None
    _refuse(path, "users", "user", found.context.user, document, _USER)
    if found.user.exec:
        found.user.exec = _as_lightkube_asks(found.user.exec)
    return found


def _as_client_go_reads(document: Any, folder: str) -> None:
    """Let data go before files in *document*, and take its paths from *folder*, that of the kubeconfig.

    *Source*: client-go, clientcmd: an exec command without a slash is found by PATH.
    """
    entries = [each["cluster"] for each in document["clusters"]] + [
        each["user"] for each in document.get("users") or ()
    ]
    for entry in filter(None, entries):
        for name in ("certificate-authority", "client-certificate", "client-key"):
            if entry.get(f"{name}-data"):
                entry.pop(name, None)
        plugin = entry.get("exec") or {}
        if "/" in plugin.get("command", ""):
            plugin["command"] = os.path.join(folder, plugin["command"])
        if entry.get("tokenFile"):
            entry["tokenFile"] = os.path.join(folder, entry["tokenFile"])


def _only_file(paths: str) -> str:
    """The single file in *paths*; ConfigError for several, which kubectl would merge."""
    files = [path for path in paths.split(os.pathsep) if path]
    if len(files) > 1 and not os.path.exists(paths):
        raise ConfigError(
            f"{paths} names several files, which are not merged: name one with --kubeconfig, "
            "or make one of them with `kubectl config view --flatten`"
        )
    return os.path.expanduser(files[0] if len(files) == 1 else paths)


def _read(path: str) -> Any:
    if not os.path.isfile(path):
        raise ConfigError(f"Configuration file {path} not found")
    with open(path) as file:
        content = file.read()
    import yaml  # which a Pod with a service account never needs

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml limits nesting
    try:
        return yaml.load(content, loader)  # noqa: S506 - each is a safe one
    except (yaml.YAMLError, RecursionError) as error:  # its text quotes the file, with secrets
        raise ConfigError(f"{path} is not YAML") from error


def _refuse(path: str, kinds: str, kind: str, name: str, document: Any, unknown: tuple[str, ...]) -> None:
    """ConfigError when the cluster or user *name* has one of the unsupported keys *unknown*."""
    entry = {each["name"]: each[kind] for each in document[kinds]}[name]
    for key in unknown:
        if entry.get(key):
            raise ConfigError(
                f"{key} of the {kind} {name} in {path} is not supported: leave it out, "
                "or name a kubeconfig whose server is the http://127.0.0.1:8001 of `kubectl proxy`"
            )


def _as_lightkube_asks(plugin: UserExec) -> UserExec:
    """*plugin* with the environment that kubectl would set.

    Tokens are equal in v1 and v1beta1, the newest version that lightkube supports. The plugin is not interactive,
    since its questions would not be seen.
    """
    told = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
    known = _EXEC_V1BETA1 if plugin.apiVersion == _EXEC_V1 else plugin.apiVersion
    environment = [*(plugin.env or ()), NameValue("KUBERNETES_EXEC_INFO", json.dumps(told))]
    return UserExec(apiVersion=known, command=plugin.command, args=plugin.args, env=environment)
