"""The bench of two servers over one: whose processor time it counts, the order of readings, and its table."""

import math
import subprocess
import sys

import psutil
import pytest
from bench.processor import Usage
from bench.scale import Costs, compare, read_pairs

BUSY = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"
PARENT = """
import subprocess, sys
for line in sys.stdin:
    subprocess.run([sys.executable, "-c", line.strip().replace(";", chr(10))], check=True)
    print("done", flush=True)
"""


def costs(**changes: float) -> Costs:
    parts = dict.fromkeys(("servers", "Postgres", "Redis"), 100.0)
    return {**parts, "requests/s": 500.0, **changes}


def test_the_time_of_a_child_that_has_ended_is_counted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = Usage.of([process.pid])
        process.stdin.write(BUSY.format(seconds=0.3).strip().replace("\n", ";") + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        spent = Usage.of([process.pid]).since(before)
        process.stdin.close()

    assert spent >= 0.3


def test_a_process_that_does_nothing_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        while psutil.Process(process.pid).status() != psutil.STATUS_SLEEPING:
            pass
        before = Usage.of([process.pid])
        subprocess.run([sys.executable, "-c", BUSY.format(seconds=0.1)], check=True)

        assert Usage.of([process.pid]).since(before) < 0.1
        process.communicate(b"\n")


def test_every_second_pair_starts_with_two_servers() -> None:
    order: list[int] = []

    def read(servers: int) -> Costs:
        order.append(servers)
        return costs(servers=float(servers))

    pairs = read_pairs(lambda: read(1), lambda: read(2), 5)

    assert order == [1, 2, 2, 1] * 2 + [1, 2]
    assert {(one["servers"], two["servers"]) for one, two in pairs} == {(1.0, 2.0)}


def test_the_table_has_the_median_ratio_of_pairs_with_its_interval() -> None:
    twos = [90.0, 100.0, 110.0, 120.0, 130.0]

    row = compare("load", [(costs(), costs(servers=each)) for each in twos])[0]

    assert row["Part"] == "servers"
    assert row["Two over one, median"] == pytest.approx(1.1)
    assert row["Least and most"] == "0.90, 1.30"
    low, high = (float(end) for end in str(row["95 % interval"]).split(" to "))
    mean = math.exp(sum(math.log(each / 100) for each in twos) / 5)
    assert low < mean < high
    assert low * high == pytest.approx(mean**2, abs=0.02)


def test_a_part_that_used_less_than_when_idle_ends_the_bench() -> None:
    with pytest.raises(SystemExit, match="Redis used less time than when idle"):
        compare("load", [(costs(), costs(Redis=-1.0)), (costs(), costs())])
