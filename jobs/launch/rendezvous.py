"""Where workers meet: torch's store, and the addresses at which they listen for one another.

torch itself opens its store on every address of the machine, where anybody may write to it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

LOOPBACK = "127.0.0.1"


@contextmanager
def open_tcp_store(address: str) -> Iterator[int]:
    """A store that listens at one IP address of this machine; its port."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # which it documents

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.create_server((address, 0), family=family)
    port: int = listening.getsockname()[1]
    store = TCPStore(
        address, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach(), use_libuv=True
    )
    try:
        yield port
    finally:
        del store  # which closes the port


def describe_world(
    rank: int,
    workers: int,
    address: str,
    port: int,
    local: tuple[int, int] | None = None,
    interface: str | None = "lo",
) -> dict[str, str]:
    """What a worker's environment tells torch.distributed: who it is, where the store is, and where to listen.

    local: rank and number of workers on this machine, where not all are here. interface: the network interface
    on which to listen; one that the environment names already comes first, and None leaves the choice to torch.
    """
    local_rank, local_workers = local or (rank, workers)
    interfaces = (
        {} if interface is None else dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interface)
    )
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(local_workers),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # no worker opens a store of its own
        **{name: os.environ.get(name, value) for name, value in interfaces.items()},
    }


def find_interface(address: str) -> str | None:
    """The network interface of this machine that has an IP address; None where none has it, as behind NAT."""
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address for entry in entries):
            return str(name)
    return None
