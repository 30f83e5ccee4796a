"""A real gRPC server that plays a runtime with Pods, and misbehaves as told.

Run as `pod_server.py SOCKET PID [MISBEHAVIOUR...]`; PID is what it names as the container's process. Prints a line once
it listens, and then one for each call that changes something.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import grpc

from probe.host import cri_pb2 as cri
from probe.host.pod_trial.messages import LABEL, NAME, NAMESPACE

OTHER = "somebody-elses"


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class Runtime(grpc.GenericRpcHandler):
    def __init__(self, pid: int, misbehaviour: list[str]) -> None:
        self.pid = pid
        self.misbehaviour = misbehaviour
        self.sandboxes = {
            OTHER: cri.PodSandbox(id=OTHER, metadata=cri.PodSandboxMetadata(name="web", namespace="shop"))
        }
        if "left" in misbehaviour:
            labels, metadata = {LABEL: "1"}, cri.PodSandboxMetadata(name=NAME, namespace=NAMESPACE)
            self.sandboxes["left"] = cri.PodSandbox(id="left", metadata=metadata, labels=labels)
        self.mapped: dict[str, bool] = {}
        self.removed: set[str] = set()
        self.names = itertools.count(1)
        self.ended = itertools.count(1)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = details.method.rpartition("/")[2]
        request_type = getattr(cri, f"{method}Request")

        def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            if f"hang in {method}" in self.misbehaviour:
                threading.Event().wait()
            if "slow" in self.misbehaviour and method != "ListPodSandbox":
                time.sleep(1.5)
            if f"die in {method}" in self.misbehaviour:
                os._exit(1)
            if f"garbage in {method}" in self.misbehaviour:
                yield b"\xff" * 50
                return
            if f"silence in {method}" in self.misbehaviour:
                return
            reply = getattr(self, method)(request_type.FromString(request), context).SerializeToString()
            yield (reply or b"\n\x02ab")[:-1] if f"half in {method}" in self.misbehaviour else reply
            if f"twice in {method}" in self.misbehaviour:
                yield reply

        return grpc.unary_stream_rpc_method_handler(answer)

    def ImageStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        image = cri.Image(id="x" * 200_000 if "huge image" in self.misbehaviour else "sha256:1")
        return cri.ImageStatusResponse(image=None if "no image" in self.misbehaviour else image)

    def RuntimeConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method RuntimeConfig")

    def RunPodSandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        said = f"run {request.config.linux.cgroup_parent} {request.runtime_handler}"
        mapped = request.config.linux.security_context.namespace_options.HasField("userns_options")
        say(said, "mapped" if mapped else "plain")
        if "refuse" in self.misbehaviour or ("refuse mapped" in self.misbehaviour and mapped):
            context.abort(grpc.StatusCode.UNKNOWN, "no sandbox: a long way down: \x1b[31mcause of it")
        if "refuse mapped once" in self.misbehaviour and mapped:
            self.misbehaviour.remove("refuse mapped once")
            context.abort(grpc.StatusCode.UNKNOWN, "by chance")
        name = f"own-{next(self.names)}"
        self.sandboxes[name] = cri.PodSandbox(id=name, metadata=request.config.metadata, labels=request.config.labels)
        self.mapped[name] = mapped
        return cri.RunPodSandboxResponse(pod_sandbox_id=OTHER if "another sandbox" in self.misbehaviour else name)

    def CreateContainer(self, request: Any, context: grpc.ServicerContext) -> Any:
        say("create in", request.pod_sandbox_id, *[mount.host_path for mount in request.config.mounts])
        ends = [int(one.split()[1]) for one in self.misbehaviour if one.startswith("ends ")]
        if ends and next(self.ended) <= ends[0]:
            self.sandboxes[request.pod_sandbox_id].state = cri.SANDBOX_NOTREADY
            context.abort(grpc.StatusCode.UNKNOWN, "sandbox is not running")
        if "refuse mapped tmpfs" in self.misbehaviour and any(
            mount.container_path.endswith("tmpfs") and mount.uidMappings for mount in request.config.mounts
        ):
            context.abort(grpc.StatusCode.UNKNOWN, "mount_setattr: invalid argument")
        return cri.CreateContainerResponse(container_id=f"container of {request.pod_sandbox_id}")

    def StartContainer(self, request: Any, context: grpc.ServicerContext) -> Any:
        if "removed before start" in self.misbehaviour and self.mapped[request.container_id.rpartition(" ")[2]]:
            self.removed.add(request.container_id)
            context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        return cri.Nothing()

    def ContainerStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.container_id in self.removed:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        mapped = self.mapped[request.container_id.rpartition(" ")[2]]
        state = cri.CONTAINER_EXITED if "exits" in self.misbehaviour else cri.CONTAINER_RUNNING
        if mapped and "stays created" in self.misbehaviour:
            state = cri.CONTAINER_CREATED
        name = OTHER if "another container" in self.misbehaviour else request.container_id
        labels = {} if "no label" in self.misbehaviour else {LABEL: "1"}
        status = cri.ContainerStatus(id=name, state=state, exit_code=7, reason="Error", labels=labels)
        return cri.ContainerStatusResponse(status=status, info={"info": f'{{"pid": {self.pid}, "other": []}}'})

    def ListPodSandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        return cri.ListPodSandboxResponse(items=self.sandboxes.values())  # it knows no filter

    def StopPodSandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        say("stop", request.pod_sandbox_id)
        return cri.Nothing()

    def RemovePodSandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        say("remove", request.pod_sandbox_id)
        if "keeps" in self.misbehaviour:
            context.abort(grpc.StatusCode.UNKNOWN, "busy")
        if "busy" in self.misbehaviour:
            self.misbehaviour.remove("busy")
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "container is already in removing state")
        if self.sandboxes.pop(request.pod_sandbox_id, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        return cri.Nothing()


def main() -> None:
    endpoint, pid, *misbehaviour = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Runtime(int(pid), misbehaviour),))
    server.add_insecure_port(f"unix:{quote(endpoint)}")
    server.start()
    say("listening")
    server.wait_for_termination()


if __name__ == "__main__":
    main()
