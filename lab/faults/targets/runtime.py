"""What container runtimes and OCI runtimes say: protobuf, JSON, TOML, versions, and their last words."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from typing import Any
from unittest.mock import patch

from lab.cri_recordings import FOLDER, recorded_answer
from lab.faults.targets.kernel import MOUNTINFO
from lab.faults.targets.target import DATA, Target, files, lines, parsed
from probe.facts.runtime import config as runtime_config
from probe.facts.runtime import cri as runtime_cri
from probe.facts.runtime import crio_config, oci
from probe.facts.runtime import settings as runtime_settings
from probe.facts.trials.oci_meaning import parse_words
from probe.host import cri_pb2
from probe.host.cri_call import read_outcomes
from probe.host.oci_trial import steps as runtime_trial_steps
from probe.reading import Reading, encode

CRI = "rubbish in answers of CRI"
CONFIGURATION = "rubbish in configurations of container runtimes"
OCI = "rubbish in what OCI runtimes say"
RECORDED = tuple(path.name for path in sorted(FOLDER.iterdir()) if path.is_dir())
VERSIONS = (
    "runc version 1.1.15+ds1\n",
    "crun version 1.28\n",
    "kata-runtime  : 3.2.0\n",
    "runsc version release-20240212.0\n",
)
LAST_WORDS = 'time="x" level=error msg="runc create failed: no"\n{"msg": "exec \\u001b[2Jfailed", "level": "error"}\n'


def read_cri(data: bytes) -> None:
    """All that is asked over the socket; a handler has user namespaces when its message says so, and never else."""
    endpoint = "/run/x.sock"
    answer = read_outcomes(endpoint, Reading("CRI", 0), [data] * 3)
    encode(answer)
    for handler in answer.handlers.value or ():
        status = cri_pb2.StatusResponse.FromString(data)
        said = [one.features.user_namespaces for one in status.runtime_handlers if one.name == handler.name]
        assert handler.user_namespaces is None or handler.user_namespaces in said
    path = answer.image_filesystem.value
    if path is not None:
        runtime_cri.parse_root(path)
        parsed(lambda _: runtime_cri.parse_snapshotter(path), b"")


def read_configuration(parser: Callable[[str], runtime_config.RuntimeConfig]) -> Callable[[bytes], None]:
    """Whatever is configured can be asked for."""

    def read(data: bytes) -> None:
        config = parsed(parser, data)
        for handler in ("", *(config.handlers if config else ())):
            parsed(lambda _, handler=handler: runtime_settings.find_handler(config, handler), b"") if config else None

    return read


def read_features(data: bytes) -> None:
    """What a runtime does not claim, it does not have."""
    features = parsed(oci.parse_features, data)
    oci.lacks_features_command(1, data.decode("utf-8", "replace"))
    if features is not None:
        linux: Any = json.loads(data)["linux"] if features.idmap or features.user_namespace else {}
        assert not features.idmap or linux["mountExtensions"]["idmap"]["enabled"] is True
        assert not features.user_namespace or "user" in linux["namespaces"]


def read_words(data: bytes) -> None:
    """Versions, and the last line of an error."""
    version = parsed(oci.parse_runtime_version, data)
    text = data.decode("utf-8", "replace")
    oci.parse_version_number(version.version if version else text)
    words = parse_words(text)
    assert words.isprintable()
    assert len(words) <= 401


def read_container(data: bytes) -> None:
    """What a runtime says of the container that it made: a process, and mounts of which the topmost counts."""
    with patch.object(runtime_trial_steps, "open", lambda *_: TextIOWrapper(BytesIO(data)), create=True):
        pid = parsed(lambda _: runtime_trial_steps._read_pid("pid"), b"")
    assert pid is None or pid > 1
    mount = b"9 8 0:7 / /target rw,idmapped - tmpfs tmpfs rw\n"
    found = []
    for table in (data, data + mount):
        with patch.object(runtime_trial_steps, "open", lambda *_, table=table: BytesIO(table), create=True):
            found.append(parsed(lambda _: runtime_trial_steps.read_mount_options(1), b""))
    assert found[0] is None or found[1]["/target"] == ("rw", "idmapped")


def infos(name: str) -> Callable[[], list[bytes]]:
    """`config` of the verbose Status of each recorded runtime of that name."""
    answers = (recorded_answer(each, "/run/x.sock").config.value for each in RECORDED if each.startswith(name))
    return lambda: [text.encode() for text in answers if text]


TARGETS = (
    Target("cri", CRI, read_cri, files(FOLDER, "*/*.pb"), ("runc", "/var/lib", "config")),
    Target(
        name="containerd-info",
        group=CONFIGURATION,
        attempt=read_configuration(runtime_config.parse_containerd_info),
        corpus=infos("containerd"),
        tokens=('"containerd":', '"runtimes":', '"BinaryName":', "io.containerd.runc.v2"),
    ),
    Target(
        name="crio-info",
        group=CONFIGURATION,
        attempt=read_configuration(crio_config.parse_crio_info),
        corpus=infos("cri-o"),
        tokens=('"Crio":', '"RuntimePath":'),
    ),
    Target(
        name="containerd-dump",
        group=CONFIGURATION,
        attempt=read_configuration(runtime_config.parse_containerd_dump),
        corpus=files(FOLDER, "*/config-dump.toml"),
        tokens=('[plugins."io.containerd.grpc.v1.cri"]', "slow_chown = true", "runtime_type = ", "imports = []"),
        runs=20_000,
    ),
    Target(
        name="crio-dump",
        group=CONFIGURATION,
        attempt=read_configuration(crio_config.parse_crio_dump),
        corpus=files(FOLDER, "*/config.toml"),
        tokens=("[crio.runtime.runtimes.x]", "runtime_path = ", "default_runtime = "),
        runs=20_000,
    ),
    Target(
        name="container",
        group=OCI,
        attempt=read_container,
        corpus=lambda: [*lines("4711", "1", "0", "-2", "")(), *MOUNTINFO()],
        tokens=("idmapped", "/target", " - ", "2147483648", "\u0663"),
    ),
    Target("features", OCI, read_features, files(DATA, "oci/*.features.json"), ('"idmap":', '"enabled":', '"user"')),
    Target(
        "oci-words",
        OCI,
        read_words,
        lambda: [*files(DATA, "oci/*.txt")(), *lines(*VERSIONS, LAST_WORDS)()],
        ('"msg":"',),
    ),
)
