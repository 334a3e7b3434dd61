"""Alerts by e-mail. Outside world: an SMTP server."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime, make_msgid
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pit_join.errors import PitJoinError, RequestError
from pit_join.monitoring.alerts import alert_json, in_time, network_problem, read_url

if TYPE_CHECKING:
    from pit_join.monitoring.findings import Monitoring

__all__ = ["Mail", "read_mail"]

_SECONDS = 30.0  # servers let strangers wait before they answer
_LONGEST_SUBJECT, _LONGEST_CELL, _LONGEST_LINE = 120, 60, 500
_LOCAL = ("localhost", "127.0.0.1", "::1")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)
_SERVER = "the server of mails (PIT_JOIN_SMTP)"
_REFUSALS: dict[type[Exception], str] = {
    smtplib.SMTPNotSupportedError: "it offers no STARTTLS, or no login that is known here",
    smtplib.SMTPAuthenticationError: "it refuses the user or the password",
    smtplib.SMTPSenderRefused: "it refuses the sender",
    smtplib.SMTPRecipientsRefused: "it refuses all receivers",
    smtplib.SMTPDataError: "it refuses the mail",
}


@dataclass(frozen=True, slots=True)
class Mail:
    """The receivers of alerts by e-mail, and the server that takes them."""

    to: tuple[str, ...]
    sender: str
    scheme: str
    host: str
    port: int
    encrypted: bool
    login: tuple[str, str] | None = field(repr=False)

    def __str__(self) -> str:
        return f"{', '.join(self.to)} through {self.scheme}://{self.host}"

    def send(self, monitoring: Monitoring) -> None:
        """Mail what a run has found, as plain text; nothing if it has found nothing.

        Raises:
            PitJoinError: if the server cannot be reached within 30 seconds, or refuses the mail or a receiver.
        """
        if (alert := alert_json(monitoring)) is None:
            return
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message["Subject"] = _subject(alert)
        message["Date"], message["Message-ID"] = localtime(), make_msgid(domain=self.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n".join(_lines(alert)) + "\n")
        try:
            refused = in_time(_SECONDS, partial(self._deliver, message))
            problem = f"it refuses {', '.join(sorted(refused))}" if refused else ""
        except smtplib.SMTPException as error:  # its text is what the server has said, perhaps of the password
            code = getattr(error, "smtp_code", None)
            problem = _REFUSALS.get(type(error), "it broke off") + (f" (status {code})" if code else "")
        except OSError as error:
            problem = network_problem(error)
        if problem:
            raise PitJoinError(f"the alert to {self} was not taken: {problem}")

    def _deliver(self, message: EmailMessage) -> Mapping[str, Any]:
        """Send a message, and return the receivers that were refused."""
        secure = ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=secure)
            if self.scheme == "smtps"
            else smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        ) as server:
            if self.encrypted and self.scheme == "smtp":
                server.starttls(context=secure)
            if self.login:
                server.login(*self.login)
            return server.send_message(message, self.sender, self.to)


def read_mail(to: Iterable[str], server: str | None, sender: str | None) -> Mail:
    """Read the receivers of alerts, the URL of the server, and the sender.

    Args:
        to: addresses.
        server: `smtp://user:password@host:587`, which must offer STARTTLS unless it is this host or the URL ends with
            `?starttls=no`, or `smtps://`; without a port it is 587, 465 for `smtps`, and 25 for this host.
        sender: the address that alerts come from.

    Raises:
        RequestError: if one is missing or cannot be read; the message has no part of the URL.
    """
    addresses = tuple(address.strip() for address in to)
    if not server or not sender:
        raise RequestError("to mail alerts, set PIT_JOIN_SMTP, such as smtp://host:587, and PIT_JOIN_MAIL_FROM")
    for address in (*addresses, sender):
        if not _ADDRESS.fullmatch(address):
            raise RequestError(f"{address!r} is not an e-mail address such as oncall@example.com")
    parts = read_url(server, ("smtps", "smtp"), _SERVER)
    if parts.path.strip("/") or parts.fragment or parts.query not in ("", "starttls=no"):
        raise RequestError(f"{_SERVER} may have the option ?starttls=no, and nothing else behind its host")
    local = parts.hostname in _LOCAL
    encrypted = parts.scheme == "smtps" or not (local or parts.query)
    login = None
    if parts.username is not None:
        login = (unquote(parts.username), unquote(parts.password or ""))
        if not (encrypted or local):
            raise RequestError(f"{_SERVER} has a password, which is not sent without TLS; leave out ?starttls=no")
        if not "".join(login).isascii():
            raise RequestError(f"{_SERVER} has a user or a password that is not ASCII, which SMTP cannot send")
    port = parts.port or (465 if parts.scheme == "smtps" else 25 if local else 587)
    return Mail(addresses, sender, parts.scheme, str(parts.hostname), port, encrypted, login)


def _subject(alert: Mapping[str, Any]) -> str:
    breaches, unchecked = alert["breaches"], alert["unchecked"]
    if breaches:
        first, more = breaches[0], len(breaches) + alert["left_out"] - 1
        what = f"{first['check']} of {first['view']}:{first['feature']}" + (f" and {more:,} more" if more else "")
    else:
        what = f"not looked at: {unchecked[0]}" + (f" and {len(unchecked) - 1:,} more" if unchecked[1:] else "")
    return _line(f"pit-join: {alert['project']} ({alert['target']}): {what}", _LONGEST_SUBJECT)


def _lines(alert: Mapping[str, Any]) -> Iterator[str]:
    yield _line(f"project {alert['project']}, target {alert['target']}, as of {alert['now']}", _LONGEST_LINE)
    yield ""
    breaches = alert["breaches"]
    if breaches:
        rows = [_cells(each) for each in breaches]
        head = ["check", "view", "feature", "value", "bound"]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        yield _row(head, widths)
        pairs = zip(breaches, rows, strict=True)
        # Features of one view mostly have one cause.
        for notes, alike in groupby(pairs, lambda pair: [pair[0][name] for name in ("text", "impact", "owner")]):
            yield from (_row(row, widths) for _, row in alike)
            named = zip(("why", "impact", "owner"), notes, strict=True)
            yield from (f"    {name}: {_line(note, _LONGEST_LINE)}" for name, note in named if note)
        if alert["left_out"]:
            yield f"and {alert['left_out']:,} more"
        yield ""
    if alert["unchecked"]:
        yield "could not be looked at (the run says why):"
        yield from (f"    {_line(each, _LONGEST_LINE)}" for each in alert["unchecked"])


def _cells(breach: Mapping[str, Any]) -> list[str]:
    unit = " s" if breach["check"] == "freshness" else ""
    numbers = ("-" if breach[name] is None else f"{breach[name]:,.6g}{unit}" for name in ("value", "bound"))
    return [*(_line(breach[name], _LONGEST_CELL) for name in ("check", "view", "feature")), *numbers]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _line(text: str, longest: int) -> str:
    """Return a text on one line and of bounded length, without anything that a terminal would obey."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
