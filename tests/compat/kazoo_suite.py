"""Runs kazoo's own test suite, unmodified, against one server or an ensemble of three, and says which tests pass.

The suite starts its servers itself, with ``java ... QuorumPeerMain zoo.cfg``. With ours a stand-in named ``java``
(``dev/java/java``) comes first on PATH. ``python -m compat.kazoo_suite --server apache --record`` stores what passes
with three servers of Apache in ``kazoo_passing.txt``; the same with ``--size 1`` stores in ``kazoo_ensemble.txt`` what
of that does not pass with one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Final

from compat.servers import APACHE, CLASSPATH_VARIABLE, REPOSITORY, ZABRA

#: A set of packages that works together.
PACKAGES: Final = (
    "kazoo[test,sasl,eventlet,gevent]==2.11.0",
    *("eventlet==0.41.3", "gevent==26.9.0", "pure-sasl==0.6.2", "pyjks==20.0.0", "pyopenssl==25.1.0"),
    *("cryptography==44.0.3", "pytest==9.2.0", "pytest-timeout==2.4.0"),
)
HERE: Final = Path(__file__).parent
PASSING: Final = HERE / "kazoo_passing.txt"
ENSEMBLE: Final = HERE / "kazoo_ensemble.txt"
WAITING: Final = HERE / "kazoo_waiting.txt"
ENSEMBLE_HEADING: Final = f"# Tests of {PASSING.name} that do not pass with one server of Apache."
SIZES: Final = (1, 3)
#: The suite mostly waits, so its files run in a few groups at once; the first two are about equally long, what is not
#: named here falls into the last. Each group has its own servers and ports.
GROUPS: Final = (
    ("test_client", "test_connection", "test_cache", "test_lease", "test_counter", "test_sasl"),
    ("test_eventlet_handler", "test_partitioner", "test_gevent_handler", "test_build"),
    (),
)
PORT_OFFSET: Final = 26200
TEST_TIMEOUT_S: Final = 120
GROUP_TIMEOUT_S: Final = 900


def stored(file: Path) -> list[str]:
    """The test names in a list file."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def expected(size: int) -> list[str]:
    """What passes with ``size`` servers of Apache."""
    alone = set(stored(ENSEMBLE)) if size == 1 else ()
    return [name for name in stored(PASSING) if name not in alone]


def environment_python() -> Path:
    """The interpreter of a virtual environment with the pinned packages; made on first use under ``build/``."""
    key = hashlib.sha256("\n".join((sys.version, *PACKAGES)).encode()).hexdigest()[:12]
    home = REPOSITORY / "build" / f"kazoo-suite-{key}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, timeout=600)
        (home / "complete").touch()
    return python


def _suite_folder(python: Path) -> Path:
    found = subprocess.run(
        [python, "-c", "import kazoo, pathlib; print(pathlib.Path(kazoo.__file__).parent / 'tests')"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(found.stdout.strip())


def _node_id(suite: Path, name: str) -> str:
    """How pytest calls a test of the lists, from its root folder on."""
    module, _, test = name.partition(".")
    return f"{suite.relative_to(suite.parents[1])}/{module}.py::{test}"


def _group_files(folder: Path) -> list[list[str]]:
    """The test files of every group."""
    named = {name for group in GROUPS for name in group}
    others = sorted(file.stem for file in folder.glob("test_*.py") if file.stem not in named)
    return [[str(folder / f"{name}.py") for name in (*group, *([] if group else others))] for group in GROUPS]


def _suite_environment(kind: str, size: int, group: int) -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONPATH")}
    values |= {
        "ZOOKEEPER_VERSION": "3.9.5",
        "ZOOKEEPER_CLUSTER_SIZE": str(size),
        "ZOOKEEPER_PORT_OFFSET": str(PORT_OFFSET + 100 * group),
        "ZOOKEEPER_CLASSPATH": os.environ.get(CLASSPATH_VARIABLE, "unused"),
    }
    if kind == ZABRA:
        values["PATH"] = os.pathsep.join((str(REPOSITORY / "dev" / "java"), values["PATH"]))
        values["ZABRA_PYTHON"] = sys.executable
    return values


def outcomes(report: Path) -> dict[str, str]:
    """Test name to "passed", "skipped" or the first line of its failure, from a JUnit report."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').split('kazoo.tests.')[-1]}::{case.get('name')}"
        failures = [child for child in case if child.tag in ("failure", "error")]
        if failures:
            found[name] = (failures[0].get("message") or failures[0].tag).splitlines()[0]
        else:
            found[name] = "skipped" if case.find("skipped") is not None else "passed"
    return found


def run(kind: str, size: int, folder: Path) -> dict[str, str]:
    """Run the whole suite against ``size`` servers of ``kind``; reports and output go to ``folder``.

    What fails that should pass is tried once more, alone.
    """
    python = environment_python()
    suite = _suite_folder(python)
    # Without its feature a waiting test may wait for ever: kazoo tries to connect again and again.
    left_out = [f"--deselect={_node_id(suite, name)}" for name in stored(WAITING)] if kind == ZABRA else []
    commands = [[*left_out, *files] for files in _group_files(suite)]
    found = _run_groups(python, suite, commands, kind, size, folder)
    # Some tests give a server five seconds to restart, which the groups may lack while they share the machine.
    failed = [name for name in expected(size) if found.get(name, "passed") not in ("passed", "skipped")]
    again = [name for name in failed if name not in stored(WAITING)]
    if again:
        (folder / "alone").mkdir()
        nodes = [str(suite.parents[1] / _node_id(suite, name)) for name in again]
        found |= _run_groups(python, suite, [nodes], kind, size, folder / "alone")
    return found


def _run_groups(
    python: Path, suite: Path, commands: list[list[str]], kind: str, size: int, folder: Path
) -> dict[str, str]:
    """Run pytest once for each list of arguments, all at the same time."""
    settings = folder / "pytest.ini"  # or pytest would take this repository's
    settings.write_text("[pytest]\n")
    groups = []
    for number, arguments in enumerate(commands):
        report = folder / f"group{number}.xml"
        with (folder / f"group{number}.log").open("wb") as log:
            options = [f"--rootdir={suite.parents[1]}", f"--timeout={TEST_TIMEOUT_S}", f"--junitxml={report}"]
            process = subprocess.Popen(
                [python, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-c", settings, *options, *arguments],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=_suite_environment(kind, size, number),
                start_new_session=True,
            )
        groups.append((process, report))
    found: dict[str, str] = {}
    try:
        for process, report in groups:
            process.wait(GROUP_TIMEOUT_S)
            found |= outcomes(report)
    finally:
        for process, _ in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the servers it started, too
            process.wait()
    return found


def differences(found: dict[str, str], size: int) -> list[str]:
    """How an outcome with ``size`` servers differs from what it must be, a line each."""
    passing, waiting = expected(size), stored(WAITING)
    lines = [f"{name} waits, but Apache does not pass it" for name in waiting if name not in passing]
    for name in passing:
        outcome = found.get(name, "did not run")
        if outcome != "passed" and name not in waiting:
            lines.append(f"{name}: {outcome}")
    lines += [
        f"{name}: passes here, not with Apache" for name in found if found[name] == "passed" and name not in passing
    ]
    return lines


def main() -> int:
    """Command line; exit code 1 when an outcome differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=(APACHE, ZABRA), default=ZABRA)
    parser.add_argument("--size", type=int, choices=SIZES, default=3)
    parser.add_argument("--record", action="store_true", help="store what passes")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kazoo-suite-"))
    found = run(options.server, options.size, folder)
    passed = sorted(name for name, outcome in found.items() if outcome == "passed")
    print(f"{len(passed)} of {len(found)} pass; output in {folder}")
    if options.record:
        if options.size == 1:
            missing = [name for name in stored(PASSING) if name not in passed]
            ENSEMBLE.write_text("".join(f"{line}\n" for line in (ENSEMBLE_HEADING, *missing)))
        else:
            PASSING.write_text("".join(f"{name}\n" for name in passed))
        return 0
    lines = differences(found, options.size)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
