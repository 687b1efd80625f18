"""
Send a finding to the operator: by a signed webhook, by mail, or by both.

The webhook goes through the guarded fetch, so it reaches no private address unless MAVERA_FETCH_ALLOW names
it. The id of a message is the same in each try, and the signed time is that of the try.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from mavera.alerts.findings import TakenFinding
from mavera.errors import APIError, ConfigurationError
from mavera.extras import describe_missing_extra
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.fetch.signing import check_secret, sign
from mavera.settings import Settings

_MAIL_SECONDS = 20.0


class SendingFailed(Exception):
    """A message did not arrive. The text is the reason, without secrets."""


class Channel(Protocol):
    async def send(self, finding: TakenFinding) -> None:
        """Send a message. Raises SendingFailed."""
        ...


@dataclass(frozen=True)
class WebhookChannel:
    url: str
    secret: str = field(repr=False)
    fetch: GuardedFetch
    clock: Callable[[], float] = time.time

    async def send(self, finding: TakenFinding) -> None:
        body = build_body(finding)
        headers = sign(self.secret, finding.message_id, body, self.clock())
        try:
            status = await self.fetch.post(self.url, body, headers, caller="alerts", param=None)
        except APIError as error:
            raise SendingFailed(error.message) from error
        if not 200 <= status < 300:
            raise SendingFailed(f"the webhook answered {status}")


@dataclass(frozen=True)
class MailChannel:
    """`smtp_url` is smtps://user:password@host:465, or smtp:// for a server with or without STARTTLS."""

    smtp_url: str = field(repr=False)
    sender: str
    recipients: tuple[str, ...]

    async def send(self, finding: TakenFinding) -> None:
        smtp = import_module("aiosmtplib")
        url = urlsplit(self.smtp_url)
        try:
            await smtp.send(
                self.build_message(finding),
                hostname=url.hostname,
                port=url.port,
                username=unquote(url.username) if url.username else None,
                password=unquote(url.password) if url.password else None,
                use_tls=url.scheme == "smtps",
                timeout=_MAIL_SECONDS,
            )
        except (smtp.SMTPException, OSError, ValueError) as error:
            raise SendingFailed(f"the mail was not sent ({type(error).__name__})") from error

    def build_message(self, finding: TakenFinding) -> EmailMessage:
        """Return the mail. Its Message-ID is the same in each try."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.recipients)
        message["Subject"] = f"mavera: {finding.text}"[:200]
        message["Date"] = formatdate(finding.found_at)
        message["Message-ID"] = f"<{finding.message_id.replace(':', '.')}@alerts.mavera.invalid>"
        details = "\n".join(f"{name}: {value}" for name, value in finding.data.items())
        message.set_content(f"{finding.text}\n\n{details}\n")
        return message


def build_body(finding: TakenFinding) -> bytes:
    """Return the body of a webhook's call."""
    data = {"text": finding.text, "found_at": finding.found_at, **finding.data}
    return msgspec.json.encode({"type": finding.kind, "data": data})


def choose_channels(settings: Settings, fetch: GuardedFetch) -> tuple[Channel, ...]:
    """Return the channels that `settings` name. Raises ConfigurationError if they are incomplete."""
    channels: list[Channel] = []
    if settings.alert_webhook_url:
        check_secret("MAVERA_ALERT_WEBHOOK_SECRET", settings.alert_webhook_secret)
        channels.append(WebhookChannel(settings.alert_webhook_url, settings.alert_webhook_secret, fetch))
    if settings.alert_mail_to:
        channels.append(_make_mail_channel(settings))
    return tuple(channels)


def _make_mail_channel(settings: Settings) -> MailChannel:
    url = urlsplit(settings.alert_smtp_url)
    if url.scheme not in ("smtp", "smtps") or not url.hostname or not settings.alert_mail_from:
        raise ConfigurationError(
            "MAVERA_ALERT_MAIL_TO needs MAVERA_ALERT_MAIL_FROM, and a MAVERA_ALERT_SMTP_URL such as"
            " smtps://user:password@mail.example.com:465. Set both."
        )
    _require_aiosmtplib()
    recipients = tuple(one.strip() for one in settings.alert_mail_to.split(",") if one.strip())
    return MailChannel(settings.alert_smtp_url, settings.alert_mail_from, recipients)


def _require_aiosmtplib() -> Any:
    try:
        return import_module("aiosmtplib")
    except ModuleNotFoundError as error:
        raise ConfigurationError(describe_missing_extra("mail", "MAVERA_ALERT_MAIL_TO")) from error
