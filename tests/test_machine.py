"""How much of a machine is ours, by trees of files as machines and containers have them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mullama_nb.machine import Machine, here

GB = 1 << 30
MEMINFO = f"MemTotal:  {16 * GB // 1024} kB\nMemFree: 1 kB\nMemAvailable:  {8 * GB // 1024} kB\n"
V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def system(folder: Path, files: Mapping[str, str], **environment: str) -> Machine:
    """A machine of 16 CPUs' memory facts and these files."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return Machine(folder, environment)


@pytest.fixture(scope="module", autouse=True)
def _sixteen_cpus() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
        yield


def in_v2(path: str, files: Mapping[str, str]) -> dict[str, str]:
    return {
        "proc/self/cgroup": f"0::{path}\n",
        "proc/self/mountinfo": V2,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


def in_v1(path: str, top: str, files: Mapping[str, str]) -> dict[str, str]:
    groups = f"9:name=systemd:/\n4:memory:{path}\n3:cpu,cpuacct:{path}\n"
    return {
        "proc/self/cgroup": groups,
        "proc/self/mountinfo": V1.format(top=top),
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }


QUOTAS = {
    "no cgroup": ({}, 16, "affinity"),
    "no limit": (in_v2("/", {"cpu.max": "max 100000\n"}), 16, "affinity"),
    "a container's own": (in_v2("/", {"cpu.max": "200000 100000\n"}), 2, "the cgroup's quota"),
    "its parent's": (
        in_v2("/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}),
        3,
        "the cgroup's quota",
    ),
    "the least of three": (
        in_v2("/a", {"cpu.max": "800000 100000", "a/cpu.max": "700000 100000"}),
        7,
        "the cgroup's quota",
    ),
    "a neighbour's": (in_v2("/a", {"b/cpu.max": "100000 100000"}), 16, "affinity"),
    "no whole number": (in_v2("/", {"cpu.max": "150000 100000"}), 1, "the cgroup's quota"),
    "less than one": (in_v2("/", {"cpu.max": "5000 100000"}), 1, "the cgroup's quota"),
    "more than there are": (in_v2("/", {"cpu.max": "6400000 100000"}), 16, "affinity"),
    "outside of what is mounted": (in_v2("/../x", {"cpu.max": "400000 100000"}), 4, None),
    "version 1": (
        in_v1(
            "/a/b",
            "/",
            {
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/a/cpu.cfs_quota_us": "125000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "25000\n",
            },
        ),
        5,
        "the cgroup's quota",
    ),
    "version 1 in a container": (
        in_v1(
            "/docker/x",
            "/docker/x",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "600000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
        ),
        6,
        "the cgroup's quota",
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_quota_that_binds(tmp_path: Path, name: str) -> None:
    files, usable, decided_by = QUOTAS[name]
    cpus = system(tmp_path, files).cpus
    assert (cpus.usable, cpus.n_affinity) == (usable, 16)
    assert decided_by in (None, cpus.decided_by)


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    mount = V2.replace("/sys/fs/cgroup", "/my\\040groups")
    files = {
        "proc/self/cgroup": "0::/a\n",
        "proc/self/mountinfo": mount,
        "my groups/a/cpu.max": "300000 100000\n",
    }
    assert system(tmp_path, files).cpus.usable == 3


@given(
    st.lists(
        st.one_of(st.none(), st.tuples(st.integers(1000, 4_000_000), st.integers(1000, 1_000_000))),
        min_size=1,
        max_size=6,
    ),
    st.one_of(st.none(), st.floats(0.01, 64)),
)
@settings(max_examples=60, deadline=None)
def test_the_least_quota_of_any_nest(
    tmp_path_factory: pytest.TempPathFactory,
    nest: list[tuple[int, int] | None],
    hub: float | None,
) -> None:
    folder, files = tmp_path_factory.mktemp("nest"), {}
    for depth, limit in enumerate(nest):
        text = "max 100000" if limit is None else f"{limit[0]} {limit[1]}"
        files["/".join(["g"] * depth + ["cpu.max"])] = text
    environment = {} if hub is None else {"CPU_LIMIT": repr(hub)}
    cpus = system(folder, in_v2("/g" * (len(nest) - 1), files), **environment).cpus
    limits = [limit[0] / limit[1] for limit in nest if limit] + ([hub] if hub else [])
    least = min([*limits, 16])
    assert cpus.usable == max(1, int(least))
    assert cpus.limit == min(limits, default=math.inf)


MEMORIES = {
    "no cgroup": ({}, 8 * GB, 16 * GB, "the machine"),
    "no limit": (in_v2("/", {"memory.max": "max"}), 8 * GB, 16 * GB, "the machine"),
    "less what is used": (
        in_v2(
            "/a",
            {
                "a/memory.max": str(2 * GB),
                "a/memory.current": str(GB),
                "a/memory.stat": f"anon 5\ninactive_file {GB // 2}\nactive_file 7\n",
            },
        ),
        3 * GB // 2,
        2 * GB,
        "the cgroup's limit",
    ),
    "the parent has less left": (
        in_v2(
            "/a/b",
            {
                "a/memory.max": str(4 * GB),
                "a/memory.current": str(3 * GB),
                "a/b/memory.max": str(2 * GB),
                "a/b/memory.current": "0",
            },
        ),
        GB,
        2 * GB,
        "the cgroup's limit",
    ),
    "throttled before it is full": (
        in_v2("/", {"memory.max": str(4 * GB), "memory.high": str(GB), "memory.current": "0"}),
        GB,
        GB,
        "the cgroup's limit",
    ),
    "full": (
        in_v2("/", {"memory.max": str(GB), "memory.current": str(GB + 4096)}),
        0,
        GB,
        "the cgroup's limit",
    ),
    "version 1": (
        in_v1(
            "/a",
            "/",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/a/memory.limit_in_bytes": str(3 * GB),
                "memory/a/memory.usage_in_bytes": str(2 * GB),
                "memory/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB}\n",
            },
        ),
        2 * GB,
        3 * GB,
        "the cgroup's limit",
    ),
}


@pytest.mark.parametrize("name", MEMORIES)
def test_the_memory_that_is_left(tmp_path: Path, name: str) -> None:
    files, free, total, decided_by = MEMORIES[name]
    memory = system(tmp_path, files).memory
    assert (memory.free, memory.total, memory.decided_by) == (free, total, decided_by)


def test_memory_is_looked_at_each_time(tmp_path: Path) -> None:
    limits = {"memory.max": str(GB), "memory.current": "0"}
    machine = system(tmp_path, in_v2("/", limits))
    assert machine.memory.free == GB
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(str(GB // 4))
    assert machine.memory.free == 3 * GB // 4


@pytest.mark.parametrize(
    ("text", "n_bytes"), [(str(GB), GB), ("1G", GB), ("1.5g", 3 * GB // 2), ("512M", GB // 2)]
)
def test_what_a_hub_says(tmp_path: Path, text: str, n_bytes: int) -> None:
    status = {"proc/self/status": "Name:\tpython\nRssAnon:\t  1024 kB\nRssShmem:\t 0 kB\n"}
    machine = system(tmp_path, status, MEM_LIMIT=text, CPU_LIMIT="2.0")
    memory = machine.memory
    assert (memory.free, memory.total) == (n_bytes - (1 << 20), n_bytes)
    assert memory.decided_by == "MEM_LIMIT"
    assert (machine.cpus.usable, machine.cpus.decided_by) == (2, "CPU_LIMIT")
    assert machine.ignored == ()


@pytest.mark.parametrize("text", ["two", "-1", "0", "nan", "inf", "1e999", "2;rm"])
def test_what_a_hub_cannot_mean(tmp_path: Path, text: str) -> None:
    machine = system(tmp_path, {}, MEM_LIMIT=text, CPU_LIMIT=text)
    assert machine.cpus.usable == 16
    assert machine.memory.free == 8 * GB
    assert machine.ignored == (
        f"CPU_LIMIT={text!r} is not a number of CPUs and was ignored",
        f"MEM_LIMIT={text!r} is not a number of bytes and was ignored",
    )


ODD = st.one_of(
    st.sampled_from(["", "max", "max max", "-1", "0", "0 0", "1 0", "\n\n", "9" * 40, "1e9", "²"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.integers(-(2**70), 2**70).map(str),
)
NAMES = [
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "proc/self/status",
    "sys/fs/cgroup/a/cpu.max",
    "sys/fs/cgroup/a/memory.max",
    "sys/fs/cgroup/a/memory.high",
    "sys/fs/cgroup/a/memory.current",
    "sys/fs/cgroup/a/memory.stat",
    "sys/fs/cgroup/a/pids.max",
    "sys/fs/cgroup/a/pids.current",
    "sys/fs/cgroup/memory.limit_in_bytes",
    "sys/fs/cgroup/cpu.cfs_quota_us",
    "sys/fs/cgroup/cpu.cfs_period_us",
]
SOUND = {"proc/self/cgroup": "0::/a\n5:cpu:/a\n6:memory:/\n", "proc/self/mountinfo": V2}


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(NAMES), ODD),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
)
@settings(max_examples=150, deadline=None)
def test_nothing_that_a_file_may_hold_is_too_odd(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str], limit: str
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    machine = system(folder, {**SOUND, **files}, CPU_LIMIT=limit, MEM_LIMIT=limit)
    assert 1 <= machine.cpus.usable <= 16
    memory = machine.memory
    assert memory.free >= 0
    assert memory.total >= 0
    assert machine.spare_threads() >= 0
    assert all(len(sentence) < 300 for sentence in machine.ignored)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    machine = system(tmp_path, in_v2("/", {}))
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "sys/fs/cgroup/memory.max").mkdir()
    assert machine.cpus.usable == 16
    assert machine.memory.free == 8 * GB


def test_a_system_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, {})
    numbers = {"SC_PHYS_PAGES": 800, "SC_PAGE_SIZE": 10}
    monkeypatch.setattr(os, "sysconf", numbers.__getitem__)
    assert (machine.memory.free, machine.memory.total) == (4000, 8000)
    monkeypatch.delattr(os, "sysconf")
    assert machine.memory.free == 4 * GB
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert (machine.cpus.usable, machine.cpus.decided_by) == (1, "the machine")


def test_threads_that_may_be_started(tmp_path: Path) -> None:
    counts = {"a/pids.max": "100\n", "a/pids.current": "88\n", "pids.max": "max\n"}
    assert system(tmp_path, in_v2("/a", counts)).spare_threads() == 12
    assert Machine(tmp_path / "none", {}).spare_threads() == math.inf


# -- for real -------------------------------------------------------------------------------------


def test_the_real_machine() -> None:
    assert 1 <= here.cpus.usable <= here.cpus.n_affinity
    assert 0 < here.memory.free <= here.memory.total


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A cgroup with a quota of 1.5 CPUs, and one in it without any."""
    for top, quota in (
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}),
        (Path("/sys/fs/cgroup"), {"cpu.max": "150000 100000"}),
    ):
        group = top / f"mullama-test-{uuid.uuid4().hex[:8]}"
        try:
            (group / "inner").mkdir(parents=True)
        except OSError:
            continue
        try:
            for name, text in quota.items():
                (group / name).write_text(text)
            yield group / "inner"
            return
        except OSError:
            continue
        finally:
            (group / "inner").rmdir()
            group.rmdir()
    pytest.skip("no cgroup with a quota can be made here")


def test_a_real_quota(real_group: Path) -> None:
    script = """
        import json, sys
        open(sys.argv[1], "w").write("0")
        from mullama_nb import ContextParams
        from mullama_nb.machine import here
        print(json.dumps([here.cpus.limit, here.cpus.decided_by, ContextParams().threads]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(real_group / "cgroup.procs")]
    kept = {name: value for name, value in os.environ.items() if name != "CPU_LIMIT"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)
    assert json.loads(done.stdout) == [1.5, "the cgroup's quota", [1, 1]]
