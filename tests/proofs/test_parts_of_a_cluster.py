"""
Two servers, two study workers, a balancer, a Redis and two Postgres: each part is lost under load.

    a worker    stopped for longer than its lease, and it goes on · killed
    Redis       stopped · killed, and started with the file of its counts
    balancer    killed
    Postgres    killed · demoted with its connections open, and the standby is promoted

After each, no run is left, no credit is held, the ledger adds up, all answers were right, and studies go on.
All of it runs on one machine, so this shows nothing about disks, clocks and real networks. `test_cluster.py`
loses servers, and engines behind a router.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.principal import Principal
from mavera.focus_groups.repository import LEASE_SECONDS as STUDY_LEASE_SECONDS
from mavera.focus_groups.repository import StudyRow
from mavera.settings import Settings
from mavera.storage.database import Database
from tests.support.load import CLIENTS, Load
from tests.support.long_study import LONG, PRIOR_READS, READS, worker
from tests.support.own_postgres import Pair, running_pair, wait_until
from tests.support.processes import ASK, make_key, serving
from tests.support.routers import running_haproxy
from tests.support.servers import free_port, redis_process
from tests.support.study_service import find_principal, read_results, use_service
from tests.support.tables import make_tables
from tests.support.upstream_stub import Upstream, repeats_question, running_upstream

pytestmark = pytest.mark.proof

CREDITS = 1_000_000
RUN_LEASE_SECONDS = 6
SECONDS_A_QUESTION = 0.35
DAILY = 5
BACKEND = (
    "option httpchk GET /health/ready",
    "timeout check 500ms",
    "balance roundrobin",
    "option redispatch",
)
PEPPER = "p" * 32


class Cluster:
    """The parts. Each can be ended, and begun again on the same port with the same files."""

    def __init__(self, folder: Path, stack: ExitStack, postgres: Pair, upstream: Upstream) -> None:
        self.postgres = postgres
        self.upstream = upstream
        self.log = folder / "asked.log"
        self._folder = folder
        self._stack = stack
        self._redis_port, self._balancer_port = free_port(), free_port()
        self.redis = self.start_redis()
        environ = {
            "MAVERA_RATE_LIMIT_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "MAVERA_MODEL_BACKEND": "upstream",
            "MAVERA_UPSTREAM_BASE_URL": upstream.url,
            "MAVERA_UPSTREAM_MODEL": "stub",
            "MAVERA_LEASE_SECONDS": str(RUN_LEASE_SECONDS),
            "MAVERA_STUDY_WORKER": "off",
        }
        started = [stack.enter_context(serving(environ, folder / name)) for name in ("first", "second")]
        self.servers = [url for url, _ in started]
        self.balancer = self.start_balancer()
        self.url = f"http://127.0.0.1:{self._balancer_port}/api/v1/responses"
        self.workers: list[Popen[bytes]] = []

    def start_redis(self) -> "Popen[bytes]":
        # The options of deploy/, and each write reaches the file before its answer.
        options = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(self._folder))
        return self._stack.enter_context(redis_process(self._redis_port, *options))

    def start_balancer(self) -> "Popen[bytes]":
        front = running_haproxy(self._folder, self.servers, *BACKEND, port=self._balancer_port)
        return self._stack.enter_context(front)[1]

    def start_worker(self, number: int) -> "Popen[bytes]":
        folder = self._folder / f"worker-{number}"
        return self._stack.enter_context(worker(folder, self.log, SECONDS_A_QUESTION))

    def count_asked(self) -> int:
        """Return how many questions of studies the workers have asked."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


class Accounts:
    """One workspace that pays for everything, its studies, and its books."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.key = asyncio.run(make_key(settings, CREDITS, concurrent_runs=200))
        self.limited = asyncio.run(make_key(settings, CREDITS, requests_per_day=DAILY))
        self.rows: list[StudyRow] = []

    def begin_study(self) -> None:
        """Begin a study, and return when a worker has it."""

        async def begin(service: Any, database: Database) -> StudyRow:
            row: StudyRow = await service.create(await find_principal(service, database), LONG)
            return row

        self.rows.append(use_service(self.settings, begin))
        wait_until(lambda: all(row.worker_id for row in self.read_studies()))

    def read_studies(self) -> list[StudyRow]:
        async def read(service: Any, _: Database) -> list[StudyRow]:
            return [await service.get(_owner(row), row.id) for row in self.rows]

        return use_service(self.settings, read)

    def are_finished(self) -> bool:
        return all(row.is_finished and row.settled_at is not None for row in self.read_studies())

    def read(self) -> dict[str, int]:
        """Return sums over all workspaces. `held` leaves the studies out, because they go on."""
        sql = """
            SELECT (SELECT SUM(balance) FROM workspaces) AS balance,
                   (SELECT SUM(credits) FROM ledger) AS added_up,
                   (SELECT COUNT(*) FROM reservations WHERE owner_kind <> 'study') AS held,
                   (SELECT COALESCE(SUM(credits), 0) FROM reservations
                     WHERE owner_kind = 'study') AS of_studies,
                   (SELECT COALESCE(SUM(credits), 0) FROM usage) AS used,
                   (SELECT COUNT(*) FROM usage) AS runs,
                   (SELECT COUNT(DISTINCT run_id) FROM usage) AS ids
        """

        async def read() -> dict[str, int]:
            async with Database.open(self.settings) as database:
                row = await database.fetch_one(sql)
                assert row is not None
                return {name: int(value) for name, value in row.items()}

        return asyncio.run(read())


def _owner(row: StudyRow) -> Principal:
    return Principal(row.key_id, row.workspace_id, "live", "enterprise")


def read_metric(url: str, name: str) -> float:
    text = httpx.get(url.replace("/api/v1/responses", "/metrics"), timeout=30).text
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


class Proof:
    """The cluster under load. `check` is what has to be true after each loss."""

    def __init__(self, cluster: Cluster, accounts: Accounts, load: Load) -> None:
        self.cluster = cluster
        self.accounts = accounts
        self.load = load

    def wait_for_work(self) -> None:
        """Return when clients have got further answers, and studies have asked further questions."""
        asked = self.cluster.count_asked()
        self.load.wait_for_answers(2 * CLIENTS)
        wait_until(lambda: self.cluster.count_asked() > asked + 2 or self.accounts.are_finished())

    def check(self, lost: str) -> None:
        """Let all requests end, look at what they have left, and let the load go on."""
        self.load.pause()
        assert self.load.wrong == [], lost
        wait_until(lambda: self.cluster.upstream.busy == 0, seconds=10)
        for url in self.cluster.servers:
            wait_until(lambda url=url: read_metric(url, "mavera_runs_in_progress") == 0, seconds=10)
        # A block that nobody uses goes back after five seconds.
        wait_until(lambda: self.accounts.read()["held"] == 0, seconds=30)
        found = self.accounts.read()
        assert found["balance"] == found["added_up"], lost
        assert found["balance"] == 2 * CREDITS - found["used"] - found["of_studies"], lost
        assert found["runs"] == found["ids"], f"a run was charged twice: {lost}"
        self.load.go_on()
        self.wait_for_work()

    def ask_limited(self, url: str) -> int:
        headers = {"Authorization": f"Bearer {self.accounts.limited}"}
        return httpx.post(url, json=ASK, headers=headers, timeout=30).status_code

    def begin_studies(self) -> tuple[str | None, str | None]:
        """Begin two studies on two workers, stop the first worker, and return the names of both."""
        self.cluster.workers.append(self.cluster.start_worker(0))
        self.accounts.begin_study()
        self.wait_for_work()
        self.cluster.workers[0].send_signal(signal.SIGSTOP)
        # On a busy machine, the start of the second one may take longer than the lease of the first one.
        first = self.accounts.read_studies()[0].worker_id
        self.cluster.workers.append(self.cluster.start_worker(1))
        self.accounts.begin_study()
        return first, self.accounts.read_studies()[1].worker_id

    def lose_redis(self) -> None:
        assert [self.ask_limited(self.cluster.url) for _ in range(DAILY)] == [200] * DAILY
        self.cluster.redis.send_signal(signal.SIGSTOP)
        self.load.wait_for_answers(2 * CLIENTS)
        self.cluster.redis.send_signal(signal.SIGCONT)
        self.load.wait_for_answers(2 * CLIENTS)
        self.cluster.redis.kill()
        self.cluster.redis.wait(20)
        self.load.wait_for_answers(2 * CLIENTS)
        self.cluster.redis = self.cluster.start_redis()
        for url in self.cluster.servers:  # both have found it again, and it has not forgotten
            wait_until(lambda url=url: read_metric(url, "mavera_rate_limit_store_ready") == 1)
            wait_until(lambda url=url: self.ask_limited(url) == 429)

    def lose_balancer(self) -> None:
        self.cluster.balancer.kill()
        self.cluster.balancer.wait(20)
        wait_until(lambda: self.load.outcomes["ConnectError"] > 0)
        self.cluster.balancer = self.cluster.start_balancer()

    def lose_worker(self) -> None:
        self.cluster.workers[1].kill()
        self.cluster.workers[1].wait(20)
        self.cluster.workers[1] = self.cluster.start_worker(1)

    def lose_postgres(self) -> None:
        self.cluster.postgres.primary.kill()
        wait_until(lambda: self.load.outcomes["503"] > 0)
        self.cluster.postgres.primary.start()

    def fail_over(self) -> None:
        self.cluster.postgres.fail_over()
        self.load.wait_for_answers(2 * CLIENTS)


@contextmanager
def running_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proof]:
    with ExitStack() as stack:
        postgres = stack.enter_context(running_pair())
        make_tables(postgres.url)
        upstream = stack.enter_context(running_upstream())
        upstream.models = (200, ["stub"])
        upstream.script = [repeats_question(0.05)]
        monkeypatch.setenv("MAVERA_DATABASE_URL", postgres.url)
        monkeypatch.setenv("MAVERA_KEY_PEPPER", PEPPER)
        settings = Settings(data_dir=folder / "tests", database_url=postgres.url, key_pepper=PEPPER)
        accounts = Accounts(settings)
        cluster = Cluster(folder, stack, postgres, upstream)
        yield Proof(cluster, accounts, stack.enter_context(Load(cluster.url, accounts.key)))


@pytest.mark.timeout(900)
def test_whatever_part_is_lost_nothing_is_left_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_proof(tmp_path, monkeypatch) as proof:
        cluster, accounts = proof.cluster, proof.accounts
        first, second = proof.begin_studies()
        stopped_at = time.monotonic()
        assert first != second
        for lose in (proof.lose_worker, proof.lose_redis, proof.lose_balancer, proof.lose_postgres):
            lose()
            proof.check(lose.__name__)
        proof.load.url = cluster.servers[0]  # all load on one process
        time.sleep(max(0.0, stopped_at + STUDY_LEASE_SECONDS + 5 - time.monotonic()))
        adopted = accounts.read_studies()[0]
        assert adopted.worker_id == second
        assert adopted.fence > 1
        cluster.workers[0].send_signal(signal.SIGCONT)
        proof.check("a worker that was stopped for longer than its lease")
        proof.load.url = cluster.url
        proof.fail_over()
        proof.check("fail_over")
        wait_until(accounts.are_finished, seconds=300)
        proof.load.pause()
        found = accounts.read_studies()
        assert {row.status for row in found} == {"COMPLETED"}
        assert all(row.credits_charged == row.price for row in found)
        assert len({read_results(accounts.settings, row) for row in found}) == 1, "a study has other results"
        # Studies share the neutral list. A cell in flight is asked again: two reads, and perhaps the list.
        again = cluster.count_asked() - (len(found) * READS + PRIOR_READS)
        assert 0 <= again <= 5 * (2 + PRIOR_READS)
