"""kill -9 at any point of `litotes mine`: the run that goes on ends with the bytes of one that was never stopped."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Forks a process per run from one that has imported everything, so that a run takes a second and not ten. A run dies
# by SIGKILL: after some seconds, or at its nth rename, just before (odd) or just behind it (even).
SERVER = """
import json, os, signal, sys, time
import pyarrow.parquet, torch, sentence_transformers, litotes.cli.app, litotes.mining, litotes.data.encoder
import litotes.data.inference

def run(arguments, renames):
    done, rename = 0, os.replace
    def replace(a, b):
        nonlocal done
        done += 1
        if done * 2 - 1 == renames:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(a, b)
        if done * 2 == renames:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace
    torch.set_num_threads(1)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    try:
        litotes.cli.app.app(arguments, standalone_mode=False)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(3)
    os._exit(0)

for line in sys.stdin:
    asked = json.loads(line)
    os.chdir(asked["folder"])
    start = time.monotonic()
    child = os.fork()
    if not child:
        run(asked["arguments"], asked.get("renames"))
    ended, status = os.waitpid(child, os.WNOHANG)
    while not ended:
        if time.monotonic() - start >= asked.get("seconds", 300):
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
    print(json.dumps([time.monotonic() - start, os.WIFSIGNALED(status)]), flush=True)
"""
pytestmark = pytest.mark.xdist_group("killed")  # with --dist loadgroup one process starts the server, once
WORDS, PAIRS = 300, 4500  # two shards of texts a side, three parts of evidence


def written(folder, count, start=0):
    draw = np.random.default_rng(start)
    rows = []
    for i in range(start, start + count):
        anchor, positive = (" ".join(f"w{j}" for j in draw.integers(0, WORDS, 4)) + f" {i}" for _ in range(2))
        rows.append(json.dumps({"anchor": anchor, "positive": positive}))
    with open(folder / "pairs.jsonl", "a") as file:
        file.write("\n".join(rows) + "\n")


class Server:
    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def mine(self, out, **killed):
        """One run; how long it lasted, and whether it was killed."""
        arguments = ["mine", "pairs.jsonl", "--model", str(self.model), "--depth", "12", "--out", out]
        asked = {"folder": str(self.folder), "arguments": arguments, **killed}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def contents(self, out):
        """Everything a run leaves, evidence and vectors, by name."""
        left = {}
        for top in (self.folder / out, self.folder / f"{out}.vectors"):
            for file in sorted(file for file in top.rglob("*") if file.is_file() and file.name != ".lock"):
                name = str(Path(top.suffix, file.relative_to(top)))
                left[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        assert not (self.folder / f"{out}.mining").exists() and "part-000002.parquet" in left, self.told()
        return left

    def told(self):
        return (self.folder / "log.txt").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_static):
    folder = tmp_path_factory.mktemp("killed")
    vectors = np.random.default_rng(0).normal(size=(WORDS, 16))
    served = Server(folder, tiny_static(folder / "model", vectors))
    written(folder, PAIRS)
    yield served
    served.process.stdin.close()
    served.process.wait()


@pytest.fixture(scope="module")
def whole(server):
    """A run that was not stopped: how long it lasted, and what it left."""
    seconds, killed = server.mine("whole")
    assert not killed
    return seconds, server.contents("whole")


def killed_at(server, whole, moments, name):
    seconds, expected = whole
    reached = 0
    for number, moment in enumerate(moments):
        out = f"{name}{number}"
        server.mine(out, seconds=moment * seconds)
        reached += (server.folder / f"{out}.vectors").exists()
        server.mine(out)
        assert server.contents(out) == expected, f"killed after {moment:.3f} of the run"
    assert reached  # the kills are not all before the first byte


def test_kill_at_random_moments(server, whole):
    killed_at(server, whole, np.random.default_rng(7).uniform(0, 1, 3), "few")


@pytest.mark.slow
@pytest.mark.timeout(1500)  # 40 runs
def test_kill_at_20_random_moments(server, whole):
    killed_at(server, whole, np.random.default_rng(20).uniform(0, 1, 20), "many")


def renames_of(server, out, runs):
    """Kills the nth rename for n = 1, 2, ... in one run after the other, each going on where the last one died."""
    for number in runs:
        server.mine(out, renames=number)
    server.mine(out)
    return server.contents(out)


def test_kill_around_a_few_renames_in_one_run_after_the_other(server, whole):
    assert renames_of(server, "chained", [3, 8, 5, 14]) == whole[1]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # some 100 runs
def test_kill_around_every_rename(server, whole):
    number, killed = 0, True
    while killed:
        number += 1
        out = f"rename{number}"
        killed = server.mine(out, renames=number)[1]
        server.mine(out)
        assert server.contents(out) == whole[1], f"killed at rename {number}"
    assert number > 40  # shards, parts, manifests, counts, records: two of each, before and behind


@pytest.mark.slow
@pytest.mark.timeout(1500)  # some 100 runs
def test_kill_in_the_middle_of_an_update(server, whole):
    written(server.folder, 300, start=PAIRS)
    killed, number, expected = True, -2, {}
    while killed:
        number += 3
        out = f"grown{number}"
        for name in ("", ".vectors"):
            subprocess.run(["cp", "-r", str(server.folder / f"whole{name}"), str(server.folder / f"{out}{name}")])
        killed = server.mine(out, renames=number)[1]
        server.mine(out)
        left = server.contents(out)
        expected = left if number == 1 else expected
        assert left == expected and left != whole[1], f"killed at rename {number}"
    assert number > 20  # and the last one was an update that nobody stopped
