"""The process of `serve`: it is executed anew, without click and all else that was imported to read its options.

    exporter.py REPORT-FILE LISTEN NODE-NAME CERTIFICATE PRIVATE-KEY PART,...

An argument that is empty was not given. SIGTERM and SIGINT are blocked by its caller, so that none is lost meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
if __name__ == "__main__" and _ROOT not in sys.path:  # run by its path
    sys.path.insert(0, _ROOT)

from probe.lean_import import hashlib_alone, msgspec_alone  # noqa: E402

with msgspec_alone():
    import msgspec  # noqa: F401
with hashlib_alone():
    import hashlib  # noqa: F401

from probe.cli.console import UNFORESEEN, USAGE, complain, complain_of_bug  # noqa: E402


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    try:
        from probe.serve.options import Options
        from probe.serve.service import StartError, run

        report_file, listen, node_name, certificate, private_key, parts = arguments
        options = Options(
            report_file=report_file,
            listen=listen,
            node_name=node_name or None,
            certificate=certificate or None,
            private_key=private_key or None,
        )
        try:
            return run(options, make_publisher(parts, node_name or None) if parts else None)
        except StartError as error:
            complain(f"Error: {error}\n")
            return USAGE
    except Exception as error:  # the outermost, as of every other verb
        complain_of_bug(error)
        return UNFORESEEN


def make_publisher(parts: str, node_name: str | None) -> Callable[[Any, str], Any]:
    """Factory of a publisher of *parts*."""
    from probe.publish.parts import parse_parts
    from probe.publish.publisher import Publisher

    chosen = parse_parts(parts)
    return lambda current, boot_id: Publisher(current, node_name=node_name, boot_id=boot_id, parts=chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
