"""Work for the containers of a Pod, and what their cgroups say that it took."""

from __future__ import annotations

from pathlib import Path

from lab.deploy.pod import Container, Pod
from lab.prerequisites import require
from lab.serve.serving import wait_for

MEMORY = Path("/sys/fs/cgroup/memory")
CPU = Path("/sys/fs/cgroup/cpuacct")

# As many scrapes as its argument says, by four clients, and now and then the page.
_SCRAPE = """
import http.client, sys, threading

def scrape(times):
    for number in range(times):
        client = http.client.HTTPConnection("127.0.0.1", 9476)
        path = "/" if number % 50 == 0 else "/metrics"
        client.request("GET", path, headers={"Accept": "application/openmetrics-text"})
        answer = client.getresponse()
        if answer.read() and answer.status == 200:
            done.append(path)
        client.close()

done = []
threads = [threading.Thread(target=scrape, args=(int(sys.argv[1]) // 4,)) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(len(done))
"""


class Group:
    """The cgroups of a container, of version 1. *Units*: bytes and seconds."""

    def __init__(self, container: Container) -> None:
        require((MEMORY / "memory.limit_in_bytes").exists(), "the memory controller of cgroup v1")
        rows = (line.split(":") for line in Path(container.proc, "cgroup").read_text().splitlines())
        self._paths = {name: path.lstrip("/") for _, names, path in rows for name in names.split(",")}

    @property
    def limit(self) -> int:
        return self._memory("limit_in_bytes")

    @property
    def held(self) -> int:
        """What it holds now, without files that the kernel could drop."""
        fields = self._fields("stat")
        return int(fields["rss"]) + int(fields.get("shmem", 0))

    @property
    def peak(self) -> int:
        """The most that it ever held."""
        return self._memory("max_usage_in_bytes")

    @property
    def killed(self) -> int:
        """How many of its processes the kernel killed for their memory."""
        return int(self._fields("oom_control")["oom_kill"])

    @property
    def cpu(self) -> float:
        """What it took so far."""
        return int((CPU / self._paths["cpuacct"] / "cpuacct.usage").read_text()) / 1e9

    def _memory(self, name: str) -> int:
        return int((MEMORY / self._paths["memory"] / f"memory.{name}").read_text())

    def _fields(self, name: str) -> dict[str, str]:
        text = (MEMORY / self._paths["memory"] / f"memory.{name}").read_text()
        return dict(line.split() for line in text.splitlines())


def probe_again(pod: Pod, times: int) -> None:
    """Let `watch` probe, one probe after the other; one that fails counts, too."""
    log = pod.containers["probe"].log

    def count() -> int:
        text = log.read_text()
        return text.count('"probed"') + text.count('"probe_failed"')

    for _ in range(times):
        before = count()
        pod.containers["probe"].signal("HUP")
        wait_for(lambda before=before: count() > before)


def scrape(pod: Pod, times: int) -> int:
    """Scrape `serve` from inside of its network namespace; how often that came to a good end."""
    wait_for(lambda: '"state": "valid"' in pod.containers["exporter"].log.read_text())
    return int(pod.node.run(*pod._inside_network(_SCRAPE, str(times))))
