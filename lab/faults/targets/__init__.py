"""Every function that reads what others wrote, by the subject that it is about."""

from lab.faults.targets import kernel, kubelet, node, pod, runtime, serve
from lab.faults.targets.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (kernel, kubelet, runtime, serve, node, pod) for target in module.TARGETS
}
