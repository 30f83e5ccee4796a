"""The calls of CRI that a Pod trial makes, one after another, each on a connection of its own."""

from __future__ import annotations

import socket
import time
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from probe.host import cri_pb2
from probe.host.cri_call import IMAGE_SERVICE, RUNTIME_SERVICE, connect
from probe.host.grpc import RpcError, call_all
from probe.host.pod_trial.messages import LABEL, own_sandboxes

SETTLED = 3.0
"""Seconds after which what cannot be removed is left."""
LEFT_SETTLED = 8.0
"""The same of what a killed trial left: its calls, which containerd then ends, keep a container busy for seconds."""

_PAUSE = 0.1

M = TypeVar("M", bound=Message)


class Runtime:
    """The runtime behind *endpoint*, asked until *deadline* (time.monotonic()), each call for *timeout* seconds."""

    def __init__(self, endpoint: str, deadline: float, timeout: float) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._timeout = timeout

    def call(self, method: str, request: Message, reply_type: type[M], service: str = RUNTIME_SERVICE) -> M:
        """The answer. *Errors*: RpcError."""
        deadline = min(self._deadline, time.monotonic() + self._timeout)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                listener = connect(connection, self._endpoint, deadline)
                if listener.kind:
                    raise RpcError("UNAVAILABLE", listener.problem)
                calls = [(f"{service}/{method}", request.SerializeToString())]
                (outcome,) = call_all(connection, calls, deadline)
        except (OSError, ValueError) as error:  # no descriptor is left; an id that no request can carry
            raise RpcError("INTERNAL", f"{method} could not be asked: {error}"[:200]) from None
        if isinstance(outcome, RpcError):
            raise outcome
        try:
            return reply_type.FromString(outcome)
        except DecodeError as error:
            raise RpcError("INTERNAL", f"{method} is not understood: {str(error)[:200]}") from None

    def image_id(self, name: str) -> str:
        """The id of an image that the runtime has; empty when it does not have it."""
        request = cri_pb2.ImageStatusRequest(image=cri_pb2.ImageSpec(image=name))
        return self.call("ImageStatus", request, cri_pb2.ImageStatusResponse, IMAGE_SERVICE).image.id

    def cgroup_driver(self) -> cri_pb2.CgroupDriver:
        """Cgroup driver of the runtime, which a kubelet adopts; CGROUPFS if the runtime does not report one."""
        try:
            request = cri_pb2.RuntimeConfigRequest()
            return self.call("RuntimeConfig", request, cri_pb2.RuntimeConfigResponse).linux.cgroup_driver
        except RpcError:
            return cri_pb2.CGROUPFS

    def sandboxes(self) -> list[cri_pb2.PodSandbox]:
        """Those of the trial. *Errors*: RpcError."""
        chosen = cri_pb2.PodSandboxFilter(label_selector={LABEL: "1"})
        request = cri_pb2.ListPodSandboxRequest(filter=chosen)
        return own_sandboxes(self.call("ListPodSandbox", request, cri_pb2.ListPodSandboxResponse))

    def sweep(self, timeout: float = SETTLED) -> str:
        """Remove every sandbox of the trial; why one is left, else empty.

        Tried again for *timeout* seconds where the runtime refuses: while containerd ends a start or a removal that
        was cut off, it neither stops nor removes the container.
        """
        began = time.monotonic()
        while error := self._remove_all():
            waited = timeout if error.by_server else min(timeout, SETTLED)
            if time.monotonic() >= min(self._deadline, began + waited):
                return str(error)
            time.sleep(_PAUSE)
        return ""

    def _remove_all(self) -> RpcError | None:
        """Try it once; the first error, after which the others are left for the next time."""
        try:
            for sandbox in self.sandboxes():
                self._change("StopPodSandbox", cri_pb2.StopPodSandboxRequest(pod_sandbox_id=sandbox.id))
                self._change("RemovePodSandbox", cri_pb2.RemovePodSandboxRequest(pod_sandbox_id=sandbox.id))
        except RpcError as error:
            return error
        return None

    def _change(self, method: str, request: Any) -> None:
        """A call whose answer says nothing; what is gone already has been removed by somebody else."""
        try:
            self.call(method, request, cri_pb2.Nothing)
        except RpcError as error:
            if error.code != "NOT_FOUND":
                raise
