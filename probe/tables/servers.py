"""FUSE servers that offer FUSE_ALLOW_IDMAP, without which Linux idmaps none of their mounts."""

from __future__ import annotations

from msgspec import Struct


class Server(Struct, frozen=True, kw_only=True):
    """A FUSE server, or the library that it is written with."""

    offers: bool | None
    """Whether its releases do; None: not known, or it depends on the release and its options."""
    words: str
    """Since which release, or up to which one it does not."""
    source: str
    """Public repository, with the file or thread."""


SERVERS: dict[str, Server] = {
    "libfuse": Server(
        offers=None,
        words="FUSE_CAP_ALLOW_IDMAP is on its main branch since 2026-03, in no release up to 3.18.2",
        source="libfuse/libfuse commit 1f4c0608",
    ),
    "go-fuse": Server(
        offers=None,
        words="the flag since 2.7.2, the option IDMappedMount since 2.8.0; a server has to set it",
        source="hanwen/go-fuse commit aa9c5164",
    ),
    "fuser": Server(offers=None, words="after 0.18.0, which is not released", source="cberner/fuser CHANGELOG.md"),
    "jacobsa/fuse": Server(offers=False, words="no such flag in 2026-06", source="jacobsa/fuse mount_config.go"),
    "blobfuse2": Server(offers=False, words="not up to 2.5.5", source="Azure/azure-storage-fuse"),
    "mountpoint-s3": Server(offers=False, words="not up to 1.23", source="awslabs/mountpoint-s3#1835"),
    "juicefs": Server(
        offers=False, words="not up to 1.4.1, with its own go-fuse 2.1", source="juicedata/juicefs go.mod"
    ),
    "fuse-overlayfs": Server(offers=False, words="not in 2026-08", source="containers/fuse-overlayfs main.c"),
    "hf-mount": Server(offers=True, words="since 2026-03", source="huggingface/hf-mount#35"),
    "ceph-fuse": Server(offers=None, words="not known", source="ceph/ceph src/client/fuse_ll.cc, not read"),
    "glusterfs": Server(offers=None, words="not known", source="gluster/glusterfs xlators/mount/fuse, not read"),
    "virtiofsd": Server(
        offers=None,
        words="1.13, written in Rust, does (tried); the one in C of QEMU 7.2 does not (tried)",
        source="virtio-fs/virtiofsd merge request 245",
    ),
}
"""Name of a server -> whether it offers the flag."""


def offers(server: str) -> bool | None:
    """True when *server* offers FUSE_ALLOW_IDMAP; None: not known."""
    return SERVERS[server].offers if server in SERVERS else None
