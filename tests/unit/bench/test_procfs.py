"""Reading memory and CPU time of a process."""

from __future__ import annotations

import os
import sys

import pytest
from bench.procfs import TICKS_PER_SECOND, cpu_seconds, memory, parse_cpu_seconds, parse_status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_memory_is_in_mib() -> None:
    status = "Name:\tjava\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n"
    assert parse_status(status) == (100.0, 200.0)


def test_cpu_time_is_user_and_system_even_when_the_name_has_blanks_and_brackets() -> None:
    text = f"42 (odd) name (x)) S 1 42 42 0 -1 4194560 1 2 3 4 {TICKS_PER_SECOND * 3} {TICKS_PER_SECOND} 9 9 20 0 1 0 5"
    assert parse_cpu_seconds(text) == 4.0


def test_a_living_process_has_both() -> None:
    assert 0 < memory(os.getpid()).resident_mib <= memory(os.getpid()).peak_mib
    assert cpu_seconds(os.getpid()) > 0
