"""Steps of the child of a Pod trial, for each Pod."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from google.protobuf.message import Message

from probe.host import cri_pb2
from probe.host.grpc import RpcError
from probe.host.pod_trial import SOURCE
from probe.host.pod_trial.client import LEFT_SETTLED, Runtime
from probe.host.pod_trial.inspect import choose_sources, read_binds, read_maps, read_pid
from probe.host.pod_trial.messages import LABEL, container_config, sandbox_config
from probe.host.pod_trial.plan import Call, Method, PodAnswer, PodPlan, Role, TriedPod
from probe.reading import ProblemKind, Reading

_ATTEMPTS = 3  # at a Pod that others end meanwhile: a kubelet looks every two seconds, and a Pod takes a third of one
_SETTLED = 1.0  # seconds after which a sandbox that is still ready has not been stopped by others
_PAUSE = 0.05
_WORDS = 2000  # characters of what the runtime says


class Trial:
    """Pod after Pod, handler after handler; *tell* gets all that is known after each of them.

    No call begins after *last_call*; what was made is removed until *deadline* (both time.monotonic()).
    """

    def __init__(
        self, plan: PodPlan, tell: Callable[[PodAnswer], None], last_call: float, deadline: float, timeout: float
    ) -> None:
        self._plan = plan
        self._tell = tell
        self._last_call = last_call
        self._runtime = Runtime(plan.endpoint, last_call, timeout)
        self._remover = Runtime(plan.endpoint, deadline, timeout)
        self._began = time.perf_counter()
        self._answer = PodAnswer()
        self._image = ""
        self._cgroup_driver: cri_pb2.CgroupDriver = cri_pb2.CGROUPFS
        self._sources: dict[Role, str] = {}

    def run(self) -> None:
        """The whole trial. *Errors*: OSError when the node's mount table or the kubelet's directory cannot be read."""
        try:
            obstacle = self._prepare()
            for handler in () if obstacle else self._plan.handlers:
                self._try_handler(handler)
        except RpcError as error:
            obstacle = Reading.without(SOURCE, _kind_of(error), f"not tried: {error}"[:_WORDS])
        self._add(obstacle=obstacle, done=True)

    def _prepare(self) -> Reading[bool] | None:
        """Remove what an earlier trial left; why nothing can be tried. *Errors*: RpcError, OSError."""
        if left := self._remover.sweep(min(LEFT_SETTLED, self._last_call - time.monotonic())):
            problem = f"remains of an earlier trial cannot be removed: {left}"
            return Reading.without(SOURCE, "not-readable", problem[:_WORDS])
        self._image = self._runtime.image_id(self._plan.pause_image)
        if not self._image:
            problem = f"not tried: pause image is not present: {self._plan.pause_image}"
            return Reading.without(SOURCE, "not-tried", problem[:_WORDS])
        self._cgroup_driver = self._runtime.cgroup_driver()
        self._sources = choose_sources(self._plan.pods_directory)
        return None

    def _add(self, **news: Any) -> None:
        seconds = round(time.perf_counter() - self._began, 6)
        self._answer = msgspec.structs.replace(self._answer, seconds=seconds, **news)
        self._tell(self._answer)

    def _try_handler(self, handler: str) -> None:
        """A Pod with a user namespace and, only when the runtime refuses it, the controls that show the cause."""
        roles = tuple(self._sources)
        if not self._try(handler, True, roles).refused:
            return
        if not self._try(handler, False, roles).runs:
            return
        # The control runs: refused once more, the Pod fails for its user namespace and not by chance.
        if self._try(handler, True, roles).refused and "tmpfs" in roles:
            self._try(handler, True, tuple(role for role in roles if role != "tmpfs"))

    def _try(self, handler: str, user_namespace: bool, roles: tuple[Role, ...]) -> TriedPod:
        """One Pod, made again when others ended it, and removed; nothing of it when the time is over."""
        for _ in range(_ATTEMPTS):
            making = _Making(
                self._runtime,
                TriedPod(handler=handler, user_namespace=user_namespace, mounts=roles),
                sandbox_config(self._plan.first_id if user_namespace else None, self._cgroup_driver),
                container_config(
                    self._image,
                    self._plan.first_id if user_namespace else None,
                    {role: self._sources[role] for role in roles},
                ),
                {role: self._sources[role] for role in roles},
            )
            pod = making.make()
            left = self._remover.sweep()
            self._add(pods=(*self._answer.pods, pod), left=left[:_WORDS])
            if not pod.ended_by_others or left:
                break
        return pod


class _Making:
    """One Pod from its sandbox to the look at its container."""

    def __init__(
        self,
        runtime: Runtime,
        pod: TriedPod,
        sandbox: cri_pb2.PodSandboxConfig,
        container: cri_pb2.ContainerConfig,
        sources: dict[Role, str],
    ) -> None:
        self._runtime = runtime
        self._pod = pod
        self._sandbox = sandbox
        self._container = container
        self._sources = sources

    def make(self) -> TriedPod:
        """The Pod as far as it came."""
        sandbox_id = container_id = ""
        try:
            run = cri_pb2.RunPodSandboxRequest(config=self._sandbox, runtime_handler=self._pod.handler)
            sandbox_id = self._call("RunPodSandbox", run, cri_pb2.RunPodSandboxResponse).pod_sandbox_id
            if self._is_ended(sandbox_id):
                self._change(ended_by_others=True)
                return self._pod
            create = cri_pb2.CreateContainerRequest(
                pod_sandbox_id=sandbox_id, config=self._container, sandbox_config=self._sandbox
            )
            container_id = self._call("CreateContainer", create, cri_pb2.CreateContainerResponse).container_id
            start = cri_pb2.StartContainerRequest(container_id=container_id)
            self._call("StartContainer", start, cri_pb2.Nothing)
            self._look(container_id)
        except RpcError:
            if sandbox_id and (self._is_removed(container_id) or self._is_ended_soon(sandbox_id)):
                self._change(ended_by_others=True)
        return self._pod

    def _look(self, container_id: str) -> None:
        """Look at the container from outside. *Errors*: RpcError when it is not known to run."""
        request = cri_pb2.ContainerStatusRequest(container_id=container_id, verbose=True)
        status = self._call("ContainerStatus", request, cri_pb2.ContainerStatusResponse)
        found = status.status
        if found.id not in ("", container_id) or found.labels.get(LABEL) != "1":
            self._fail_last("the runtime answered with the status of another container", by_runtime=False)
        if found.state == cri_pb2.CONTAINER_EXITED:
            words = f"exited with status {found.exit_code} at once: {found.reason} {found.message}".strip()
            self._fail_last(words, by_runtime=True)
        if found.state != cri_pb2.CONTAINER_RUNNING:
            self._fail_last(f"the runtime started the container, and calls it {_state(found.state)}", by_runtime=False)
        try:
            pid = read_pid(status.info.get("info", ""))
            uid_map, gid_map = read_maps(pid)
            self._change(uid_map=uid_map, gid_map=gid_map)
            self._change(binds=read_binds(pid, self._sources))
        except (OSError, ValueError) as error:
            self._change(unseen=str(error)[:_WORDS])

    def _is_removed(self, container_id: str) -> bool:
        """True when the runtime has the container no more: one that failed to start stays until it is removed."""
        if container_id:
            try:
                request = cri_pb2.ContainerStatusRequest(container_id=container_id)
                self._runtime.call("ContainerStatus", request, cri_pb2.ContainerStatusResponse)
            except RpcError as error:
                return error.code == "NOT_FOUND"
        return False

    def _is_ended_soon(self, sandbox_id: str) -> bool:
        """The same, at once or in a moment: the runtime kills its processes first, and calls it ready meanwhile."""
        deadline = time.monotonic() + _SETTLED
        while not (ended := self._is_ended(sandbox_id)) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return ended

    def _is_ended(self, sandbox_id: str) -> bool:
        """True when the runtime no longer has the sandbox, or reports it as not ready; False if unknown."""
        try:
            found = [one for one in self._runtime.sandboxes() if one.id == sandbox_id]
        except RpcError:
            return False
        return not found or found[0].state != cri_pb2.SANDBOX_READY

    def _call(self, method: Method, request: Message, reply_type: type[Any]) -> Any:
        """The answer, with the call kept. *Errors*: RpcError."""
        began = time.perf_counter()
        code, words, by_runtime = "", "", False
        try:
            return self._runtime.call(method, request, reply_type)
        except RpcError as error:
            code, words, by_runtime = error.code, error.details[:_WORDS], error.by_server
            raise
        finally:
            seconds = round(time.perf_counter() - began, 6)
            call = Call(method=method, code=code, words=words, by_runtime=by_runtime, seconds=seconds)
            self._change(calls=(*self._pod.calls, call))

    def _fail_last(self, words: str, *, by_runtime: bool) -> NoReturn:
        """Let the last call count as failed although it was answered. *Errors*: RpcError, always."""
        *before, last = self._pod.calls
        failed = msgspec.structs.replace(last, code="ABORTED", words=words[:_WORDS], by_runtime=by_runtime)
        self._change(calls=(*before, failed))
        raise RpcError("ABORTED", words)

    def _change(self, **news: Any) -> None:
        self._pod = msgspec.structs.replace(self._pod, **news)


def _state(number: int) -> str:
    """Name of a state as CRI has it; a number that CRI does not know as it is."""
    names = dict(cri_pb2.ContainerState.items())
    return next((name for name, value in names.items() if value == number), str(number))


def _kind_of(error: RpcError) -> ProblemKind:
    return "timed-out" if error.code == "DEADLINE_EXCEEDED" else "not-readable"
