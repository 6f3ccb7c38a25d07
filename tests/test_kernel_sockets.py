"""A kernel of the tests takes no port of the machine, and leaves no folder."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hang_guard import PATIENCE
from kernel_sockets import KernelManager


@pytest.mark.slow
def test_a_kernel_is_reached_through_files() -> None:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    told = manager.get_connection_info()
    folder = Path(str(told["ip"])).parent
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE)
    assert told["transport"] == "ipc"
    assert len([*folder.iterdir()]) == 5
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    del manager, client
    gc.collect()
    assert not folder.exists()
