"""Sizes are read and said as people write them, and what a process holds is seen where it is held."""

import mmap
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litotes.memory import PeakMemory, held_bytes, parse_bytes, spell_bytes

MB = 10**6


@pytest.mark.parametrize(
    "text, size",
    [("2GB", 2 * 10**9), ("512MiB", 512 << 20), (" 1.5 gb ", 1_500_000_000), ("7", 7), (7, 7), ("1kib", 1024)],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("bad", ["", "GB", "2 XB", "-1GB", "0", "0.0001B", "2GB or so", "nan", 0, -5])
def test_what_is_no_size_is_refused(bad):
    with pytest.raises(ValueError, match="a size must be a number above 0 with one of B, KB, MB"):
        parse_bytes(bad)


@given(st.integers(1, 10**13))
def test_what_is_said_reads_back_within_a_hundredth_and_a_budget_is_never_said_too_small(size):
    said = parse_bytes(spell_bytes(size))
    assert abs(said - size) <= max(0.005 * size, 10**6)
    if size < 10**9:
        assert said >= size


def test_a_peak_is_seen_after_it_is_gone_and_files_do_not_count(tmp_path):
    before = held_bytes()
    with PeakMemory(interval=0.005) as watch:
        held = np.ones(10 * MB)  # 80 MB
        time.sleep(0.05)
        del held
    assert before + 75 * MB < watch.peak < before + 110 * MB
    (tmp_path / "file").write_bytes(bytes(80 * MB))
    with open(tmp_path / "file", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0  # every page is read
        assert held_bytes() < before + 30 * MB


def test_children_and_their_children_count():
    grandchild = "import time; b = b'x' * 60_000_000; print('there', flush=True); time.sleep(30)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    before = held_bytes()
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"there\n"
        assert held_bytes() > before + 60 * MB
        alone = held_bytes(process.pid)
        assert 60 * MB < alone < held_bytes()
        import os
        import signal

        os.killpg(process.pid, signal.SIGKILL)
