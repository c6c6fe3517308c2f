"""What the README shows works: a server without a configuration, the command, and the example with kazoo."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from compat.servers import LOOPBACK, REPOSITORY, environment, free_port

README = (REPOSITORY / "README.md").read_text("utf-8")


@pytest.mark.parametrize("loop", ["", "asyncio"], ids=["the loop there is", "asyncio"])
def test_the_example_with_kazoo_runs_against_a_server_without_a_configuration(loop: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "127.0.0.1:2181" in example
    port = free_port()
    home = {**environment(), "XDG_DATA_HOME": str(tmp_path), "ZABRA_LOOP": loop}
    command = [sys.executable, "-m", "zabra", "server", f"-DclientPort={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            assert f"listens on {LOOPBACK}:{port}, data in {tmp_path}/zabra/data" in server.stdout.readline()
            script = example.replace("127.0.0.1:2181", f"{LOOPBACK}:{port}")
            done = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=home, check=False
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[0] == "0 b'blue'"
        finally:
            os.kill(server.pid, signal.SIGTERM)
        assert server.wait(30) == 0
    assert (tmp_path / "zabra" / "data" / "version-2" / "snapshot.0").exists()


def test_the_command_is_installed() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    module, _, function = scripts["zabra"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_targets_that_people_expect_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"run", "test", "lint", "bench"} <= targets
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert target in targets
