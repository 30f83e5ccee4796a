"""A real gRPC server on a unix socket that answers CRI calls with the bytes it was given.

Run as `cri_server.py SOCKET FOLDER [MISBEHAVIOUR]`; prints one line once it listens. A process of its own, because
gRPC's threads would keep the tests' process from making namespaces.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import grpc

REPLIES = {"Version": "version.pb", "Status": "status-verbose.pb", "ImageFsInfo": "image-fs-info.pb"}


class Replay(grpc.GenericRpcHandler):
    def __init__(self, folder: Path, misbehaviour: str) -> None:
        self.folder = folder
        self.misbehaviour = misbehaviour

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = details.method.rpartition("/")[2]
        if method not in REPLIES or self.misbehaviour == "unimplemented":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.reply(method, context))

    def reply(self, method: str, context: grpc.ServicerContext) -> bytes:
        if self.misbehaviour == "hang" or self.misbehaviour == f"hang in {method}":
            threading.Event().wait()
        if self.misbehaviour == "deny":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        if self.misbehaviour == "crash":
            raise RuntimeError("broken")
        if self.misbehaviour == "huge":
            return bytes(64 << 20)
        if self.misbehaviour == "bomb":
            context.set_compression(grpc.Compression.Gzip)
            return bytes(64 << 20)
        if self.misbehaviour == "garbage":
            return b"\xff" * 100
        return (self.folder / REPLIES[method]).read_bytes()


def main() -> None:
    endpoint, folder, misbehaviour = sys.argv[1], Path(sys.argv[2]), (sys.argv[3:] or [""])[0]
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((Replay(folder, misbehaviour),))
    server.add_insecure_port(f"unix:{quote(endpoint)}")
    server.start()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
