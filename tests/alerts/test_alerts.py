"""Alerts reach the operator once for all replicas, are retried with one id, and say what is wrong."""

import asyncio
import base64
import email
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mavera.accounts.credits.ledger import End, Reserve
from mavera.alerts.channels import MailChannel, SendingFailed, WebhookChannel, choose_channels
from mavera.alerts.findings import MOST_TRIES, QUIET_SECONDS, Finding, TakenFinding
from mavera.alerts.sender import AlertSender
from mavera.alerts.sources import BudgetSource, ModelSource
from mavera.errors import ConfigurationError
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.models.model import ModelStatus
from mavera.models.scripted import ScriptedModel
from mavera.settings import Settings
from tests.focus_groups.test_webhooks import fetch_for, receiver
from tests.support.house import bank
from tests.support.opening import Open
from tests.support.requirements import require_module

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
FINDING = Finding("model:mavera-1", "model.down", "The model mavera-1 has not answered for a minute.")


@dataclass
class Recorder:
    """A channel that fails its first `failures` tries."""

    failures: int = 0
    sent: list[TakenFinding] = field(default_factory=list)

    async def send(self, finding: TakenFinding) -> None:
        self.sent.append(finding)
        if len(self.sent) <= self.failures:
            raise SendingFailed("no")


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


def always(*findings: Finding) -> Any:
    async def source() -> Sequence[Finding]:
        return findings

    return source


def test_two_replicas_send_a_finding_once(opened: Open) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with opened() as one, opened() as other:
            senders = [AlertSender(database, [recorder], [always(FINDING)]) for database in (one, other)]
            for _ in range(3):
                await asyncio.gather(*(sender.look() for sender in senders))
        assert [taken.message_id for taken in recorder.sent] == ["model:mavera-1.1"]

    asyncio.run(main())


def test_a_try_that_failed_is_repeated_later_with_the_same_id(opened: Open) -> None:
    async def main() -> None:
        recorder, clock = Recorder(failures=2), Clock()
        async with opened() as database:
            sender = AlertSender(database, [recorder], [always(FINDING)], clock=clock)
            await sender.look()
            await sender.look()
            assert len(recorder.sent) == 1, "the second try has to wait"
            for _ in range(4):
                clock.now += 60
                await sender.look()
        assert [taken.message_id for taken in recorder.sent] == ["model:mavera-1.1"] * 3

    asyncio.run(main())


def test_a_finding_that_nobody_takes_is_given_up(opened: Open) -> None:
    async def main() -> None:
        recorder, clock = Recorder(failures=100), Clock()
        source = always(replace(FINDING, may_recur=False))
        async with opened() as database:
            sender = AlertSender(database, [recorder], [source], clock=clock)
            for _ in range(MOST_TRIES + 5):
                clock.now += 2000
                await sender.look()
            rows = await database.fetch_all("SELECT state FROM findings")
        assert len(recorder.sent) == MOST_TRIES
        assert [row["state"] for row in rows] == ["given up"]

    asyncio.run(main())


def test_a_subject_that_was_well_for_a_while_is_reported_again(opened: Open) -> None:
    async def main() -> None:
        recorder, clock = Recorder(), Clock()
        async with opened() as database:
            sender = AlertSender(database, [recorder], [always(FINDING)], clock=clock)
            for seconds in (0, 30, QUIET_SECONDS, QUIET_SECONDS + 1, 30):
                clock.now += seconds
                await sender.look()
        assert [taken.message_id for taken in recorder.sent] == ["model:mavera-1.1", "model:mavera-1.2"]

    asyncio.run(main())


def test_a_budget_is_reported_at_each_of_its_three_marks(opened: Open) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with bank(opened, 1000, budget=100) as its:
            source = BudgetSource(its.database, clock=its.clock)
            sender = AlertSender(its.database, [recorder], [source])
            for number, credits in enumerate((40, 20, 16, 15)):
                run_id = f"run{number}"
                await its.credits.reserve(Reserve(run_id, its.workspace_id, its.key_id, credits))
                end = End(run_id, its.workspace_id, its.key_id, "completed", credits)
                await its.credits.end(end)
                await sender.look()
        assert [taken.data["percent"] for taken in recorder.sent] == [50, 75, 90]
        assert "has spent 50 % of the month's budget: 60 of 100 credits" in recorder.sent[0].text

    asyncio.run(main())


def test_a_model_is_down_after_a_minute_and_not_before() -> None:
    class Switch(ScriptedModel):
        state: Any = "ready"

        def status(self) -> ModelStatus:
            return ModelStatus(self.state, "the server refuses")

    async def main() -> None:
        model, clock = Switch(), Clock()
        source = ModelSource({"mavera-1": model}, clock=clock)
        assert await source() == []
        model.state = "unavailable"
        assert await source() == []
        clock.now += 61
        [finding] = await source()
        assert finding.data == {"model": "mavera-1", "detail": "the server refuses"}
        model.state = "ready"
        assert await source() == []

    asyncio.run(main())


def taken_finding() -> TakenFinding:
    return TakenFinding("model:m", 3, "model.down", "It is down.", {"model": "m"}, 1_790_000_000, 1)


def test_a_webhook_is_signed_with_the_time_of_its_try() -> None:
    async def main() -> list[Any]:
        async with receiver([204]) as (url, received):
            channel = WebhookChannel(url, SECRET, fetch_for(url), clock=lambda: 1_790_000_500.0)
            await channel.send(taken_finding())
            return received

    [(headers, body)] = asyncio.run(main())
    signed = b"model:m.3.1790000500." + body
    expected = base64.b64encode(hmac.new(b"s" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "model:m.3"
    assert msgspec.json.decode(body) == {
        "type": "model.down",
        "data": {"text": "It is down.", "found_at": 1_790_000_000, "model": "m"},
    }


def test_a_webhook_that_answers_an_error_or_is_private_has_failed() -> None:
    async def main() -> None:
        async with receiver([500]) as (url, received):
            with pytest.raises(SendingFailed, match="answered 500"):
                await WebhookChannel(url, SECRET, fetch_for(url)).send(taken_finding())
            with pytest.raises(SendingFailed):
                await WebhookChannel(url, SECRET, GuardedFetch(FetchPolicy())).send(taken_finding())
        assert len(received) == 1, "a private address was called"

    asyncio.run(main())


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[int, list[bytes]]]:
    """Receive mails as an SMTP server does, and keep their texts."""
    mails: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 stub\r\n")
        while line := await reader.readline():
            match line.split(b" ")[0].strip().upper():
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 taken\r\n")
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"250 stub\r\n")
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], mails


def test_a_mail_says_what_is_wrong_and_keeps_its_id() -> None:
    require_module("aiosmtplib")

    async def main() -> list[bytes]:
        async with mail_server() as (port, mails):
            channel = MailChannel(f"smtp://127.0.0.1:{port}", "mavera@example.com", ("ops@example.com",))
            await channel.send(taken_finding())
            await channel.send(taken_finding())
            return mails

    first, second = (email.message_from_bytes(one) for one in asyncio.run(main()))
    assert first["Subject"] == "mavera: It is down."
    assert first["To"] == "ops@example.com"
    assert first["Message-ID"] == second["Message-ID"] == "<model.m.3@alerts.mavera.invalid>"
    assert "model: m" in str(first.get_payload())


def test_a_mail_server_that_is_away_is_a_failed_try() -> None:
    require_module("aiosmtplib")
    channel = MailChannel("smtp://127.0.0.1:9", "mavera@example.com", ("ops@example.com",))
    with pytest.raises(SendingFailed, match="was not sent"):
        asyncio.run(channel.send(taken_finding()))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"alert_webhook_url": "https://example.com/hook"}, "MAVERA_ALERT_WEBHOOK_SECRET must be whsec_"),
        (
            {"alert_webhook_url": "https://example.com/hook", "alert_webhook_secret": "whsec_c2hvcnQ="},
            "at least 24 bytes",
        ),
        ({"alert_mail_to": "ops@example.com"}, "MAVERA_ALERT_SMTP_URL"),
    ],
)
def test_settings_that_are_incomplete_are_refused(
    settings: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        choose_channels(Settings(data_dir=tmp_path, **settings), GuardedFetch(FetchPolicy()))


def test_without_a_channel_nothing_runs(opened: Open) -> None:
    async def main() -> None:
        async with opened() as database, AlertSender(database, (), [always(FINDING)], look_seconds=0.01):
            await asyncio.sleep(0.1)
            assert await database.fetch_all("SELECT subject FROM findings") == []

    asyncio.run(main())


def test_secrets_of_alerts_are_hidden_from_logs(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, alert_webhook_secret=SECRET, alert_smtp_url="smtps://u:password9@mail:465"
    )
    assert {SECRET, "password9"} <= settings.secrets
