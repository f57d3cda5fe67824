"""How many processors a process may use."""

from __future__ import annotations

import os

import pytest

from fastxent import _cpus

TWO = {
    "/proc/self/cgroup": "0::/kubepods/pod/inner\n",
    "/sys/fs/cgroup/kubepods/pod/cpu.max": "250000 100000\n",
    "/sys/fs/cgroup/kubepods/pod/inner/cpu.max": "max 100000\n",
}
ONE = {
    "/proc/self/cgroup": "4:cpu,cpuacct:/docker/a\n3:memory:/docker/a\n",
    "/sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "50000\n",
    "/sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
UNREADABLE = {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "what\n", "/sys/fs/cgroup/cpu.max": "5 0\n"}


@pytest.mark.parametrize(
    ("files", "limit"), [(TWO, 3), (ONE, 1), (UNREADABLE, 0), ({}, 0)], ids=["v2", "v1", "unreadable", "none"]
)
def test_limits_of_control_groups(files: dict[str, str], limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def text(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    monkeypatch.setattr(_cpus, "_text", text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert _cpus.available_cpus() == (limit or 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert _cpus.available_cpus() == 1
