"""Alerts of monitoring, sent to real servers that are slow, wrong, or not there, and the textfile for Prometheus."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from http_servers import serving
from prometheus_client.parser import text_string_to_metric_families
from servers import free_ports
from support.projects import Result, run
from support.receivers import http_receiver, mail_receiver, make_certificate
from support.stores import put

from pit_join.errors import PitJoinError, RequestError
from pit_join.feature_store import FeatureStore
from pit_join.monitoring import mail, webhook
from pit_join.monitoring.alerts import alert_json
from pit_join.monitoring.findings import FeatureSkew, Monitoring, Skew
from pit_join.monitoring.freshness import FeatureFreshness, Freshness
from pit_join.monitoring.mail import read_mail
from pit_join.monitoring.textfile import write_textfile
from pit_join.monitoring.webhook import read_webhook
from pit_join.online.opening import open_store
from pit_join.records.layout import moment_of

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NASTY = 'n\r\nBcc: evil@example.com\r\n\r\n\x1b[2J\u202e"\\\ud800'
SECRETS = ("s3cret", "t0ken", "hooks/", "app:")


def monitored(*names: str, unchecked: tuple[str, ...] = (), skew: Skew | None = None) -> Monitoring:
    """What a run found: each of the features is two hours old and may be one, beside one that is fresh."""
    features = tuple(
        FeatureFreshness(
            "clicks", name, None, None, None, True, age, 3600.0, "bids\n are low", "ads@example.com", lost="export: old"
        )
        for name, age in (*((name, 7200.0) for name in names), ("fresh", 60.0))
    )
    return Monitoring(skew, Freshness(moment_of(NOW), features, unchecked), project="shop", target="dev", now=NOW)


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_PAUSE_SECONDS", 0.01)
    for name in ("PIT_JOIN_WEBHOOK", "PIT_JOIN_SMTP", "PIT_JOIN_MAIL_FROM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


# What is sent ---------------------------------------------------------------------------------------------


def test_an_alert_has_breaches_and_neither_details_nor_reasons() -> None:
    skew = Skew(3, (FeatureSkew("logins", "first", "count", rows=3, different=2),), (), (), ("a.parquet: bad",), ())
    unchecked = ("the warehouse: 's3cret' is not a number", "the warehouse: closed", "clicks")
    alert = alert_json(monitored("n", unchecked=unchecked, skew=skew))
    assert alert is not None
    run_at = datetime.fromisoformat(alert.pop("run_at").replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - run_at).total_seconds()) < 60
    assert alert == {
        "project": "shop",
        "target": "dev",
        "now": "2026-03-01T12:00:00Z",
        "found": True,
        "breaches": [
            {
                "check": "freshness", "view": "clicks", "feature": "n", "place": "", "value": 7200.0, "bound": 3600.0,
                "text": "export: old", "impact": "bids\n are low", "owner": "ads@example.com",
            },
            {
                "check": "skew", "view": "first (logins)", "feature": "count", "place": "served", "value": 2.0,
                "bound": 0.0, "text": "0 stale and 2 different of 3 served rows", "impact": "", "owner": "",
            },
        ],
        "left_out": 0,
        "unchecked": ["the warehouse", "clicks", "left out a.parquet"],
    }  # fmt: skip


def test_an_alert_is_bounded_and_says_so() -> None:
    alert = alert_json(monitored(*(f"n{number}" for number in range(1_234))))
    assert alert is not None
    assert (len(alert["breaches"]), alert["left_out"]) == (1_000, 234)


def test_nothing_is_sent_when_nothing_is_found() -> None:
    with http_receiver(200) as http, mail_receiver() as smtp:
        receivers = [
            read_webhook(http.url),
            read_mail(["a@example.com"], f"smtp://127.0.0.1:{smtp.port}", "b@example.com"),
        ]
        for receiver in receivers:
            receiver.send(monitored())
        assert (http.posts, smtp.lines) == ([], [])
        for receiver in receivers:
            receiver.send(monitored(unchecked=("the warehouse: locked",)))
        assert (len(http.posts), len(smtp.mails)) == (1, 1)
        assert json.loads(http.posts[0][2])["found"] is False


# The webhook ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "", "t0ken", "hooks.example.com/t0ken", "file:///t0ken", "ftp://app:s3cret@example.com/t0ken", "https://",
        "https:///t0ken", "https://app:s3cret@/", "https://example.com:s3cret/", "https://example.com:0/t0ken",
        "https://example.com:99999/t0ken", "https://example.com/t0ken\r\nX-Header: 1", "https://example.com/ t0ken",
        "https://app:123/s3cret@example.com/", "https://app:123?s3cret@example.com/", "https://app:s3c/ret@example.com/",
        f"https://{'t0ken' * 20}.com/", "https://exämple.com/t0ken", "javascript:t0ken", "https://[::1/t0ken",
    ],
)  # fmt: skip
def test_other_urls_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(RequestError, match="the webhook must be a URL that begins with https:// or http://") as raised:
        read_webhook(url)
    assert not [secret for secret in (*SECRETS, "s3c") if secret in str(raised.value)]
    done = run("monitor", "--webhook", url)
    assert (done.status, done.out) == (2, "")
    assert not [secret for secret in (*SECRETS, "s3c") if secret in done.err]


@pytest.mark.parametrize(
    ("url", "port", "path"),
    [
        ("https://example.com", 443, "/"),
        ("http://example.com?a=b@c#d", 80, "/?a=b@c"),
        ("https://[::1]/x@y/z", 443, "/x@y/z"),
        ("http://app:s3cret@example.com:8080/hooks/t0ken", 8080, "/hooks/t0ken"),
    ],
)
def test_urls_are_read_and_shown_without_secrets(url: str, port: int, path: str) -> None:
    found = read_webhook(url)
    assert (found.port, found.path) == (port, path)
    assert not [secret for secret in SECRETS if secret in f"{found} {found!r}"]


def test_a_breach_is_posted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_ports(1)[0]}")
    with http_receiver(204) as server:
        address = server.url.removeprefix("http://")
        read_webhook(f"http://us%40er:s3%3Acret@{address}/hooks/t0ken?a=b").send(monitored(NASTY))
    ((path, headers, body),) = server.posts
    assert (path, headers["Content-Type"]) == ("/hooks/t0ken?a=b", "application/json")
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"us@er:s3:cret"
    assert json.loads(body)["breaches"][0]["feature"] == NASTY


def test_a_redirect_is_not_followed() -> None:
    with http_receiver(200) as other:

        def moved(request: BaseHTTPRequestHandler) -> None:
            request.send_response(307)
            request.send_header("Location", other.url)
            request.end_headers()

        with http_receiver(moved) as server:
            with pytest.raises(PitJoinError, match="has status 307, and redirects are not followed"):
                read_webhook(server.url).send(monitored("n"))
            assert (len(server.posts), other.posts) == (1, [])


def test_a_slow_server_has_five_seconds_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then ends the timeout of no packet."""
    assert webhook._SECONDS == 5
    monkeypatch.setattr(webhook, "_SECONDS", 0.5)

    def trickle(request: BaseHTTPRequestHandler) -> None:
        for _ in range(100):
            request.wfile.write(b"H")
            time.sleep(0.1)

    with http_receiver(trickle) as server, ends_within(2):
        with pytest.raises(PitJoinError, match=r"^the alert to http://127.0.0.1 was not taken: no answer in time$"):
            read_webhook(server.url).send(monitored("n"))
        assert len(server.posts) == 1, "a second alert might be taken beside the first"


def test_the_body_of_the_answer_is_not_read() -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(2**16))

    with http_receiver(endless) as server, ends_within(3):
        read_webhook(server.url).send(monitored("n"))
        assert len(server.posts) == 1


def test_an_endless_head_is_an_error() -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 s3cret\r\n")
        while True:
            request.wfile.write(b"x" * 2**16)

    with http_receiver(endless) as server, ends_within(3), pytest.raises(PitJoinError, match=r"not HTTP \(LineTooLong"):
        read_webhook(server.url).send(monitored("n"))


@pytest.mark.parametrize(("answers", "posts"), [((500, 200), 2), ((503,), 2), ((400,), 1), ((429,), 1)])
def test_a_failing_server_is_asked_once_more(answers: tuple[int, ...], posts: int) -> None:
    with http_receiver(*answers) as server:
        if answers[-1] == 200:
            read_webhook(server.url).send(monitored("n"))
        else:
            with pytest.raises(PitJoinError, match=f"the answer has status {answers[-1]}$"):
                read_webhook(server.url).send(monitored("n"))
    assert [body for _, _, body in server.posts] == [server.posts[0][2]] * posts


def test_no_server_and_no_host() -> None:
    with pytest.raises(PitJoinError, match=r"^the alert to http://127.0.0.1 .* failed \(Connection refused\)$"):
        read_webhook(f"http://app:s3cret@127.0.0.1:{free_ports(1)[0]}/hooks/t0ken").send(monitored("n"))
    with pytest.raises(PitJoinError, match=r"^the alert to http://nobody.invalid was not taken: (the conn|no answer)"):
        read_webhook("http://nobody.invalid/hooks/t0ken").send(monitored("n"))


def test_a_certificate_must_be_right(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with http_receiver(200, files=files) as server:
        with pytest.raises(PitJoinError, match=r"no secure connection \(self.signed certificate\)"):
            read_webhook(server.url).send(monitored("n"))
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        with pytest.raises(PitJoinError, match=r"no secure connection \(.*'localhost'"):
            read_webhook(server.url.replace("127.0.0.1", "localhost")).send(monitored("n"))
        assert server.posts == []
        read_webhook(server.url).send(monitored("n"))
        assert len(server.posts) == 1


# Mail -----------------------------------------------------------------------------------------------------


def mailed(message: bytes) -> tuple[EmailMessage, str]:
    """A mail and its text, whose lines a transport ends as it likes."""
    read = message_from_bytes(message, policy=policy.default)
    assert isinstance(read, EmailMessage)
    return read, read.get_content().replace("\r\n", "\n")


def send_mail(server: str, found: Monitoring, *to: str) -> None:
    read_mail(to or ["oncall@example.com"], server, "pit-join@example.com").send(found)


def test_a_mail_has_breaches_with_impact_and_owner() -> None:
    with mail_receiver() as server:
        found = monitored("n", "m", unchecked=("the warehouse: 's3cret' is not a number",))
        send_mail(f"smtp://127.0.0.1:{server.port}", found, "oncall@example.com", " two@example.com")
    (message,) = server.mails
    read, text = mailed(message)
    assert read["Subject"] == "pit-join: shop (dev): freshness of clicks:n and 1 more"
    assert (read["From"], read["To"]) == ("pit-join@example.com", "oncall@example.com, two@example.com")
    assert (read["Auto-Submitted"], read.get_content_type()) == ("auto-generated", "text/plain")
    assert [line for line in server.lines if line.startswith("rcpt")] == [
        "rcpt TO:<oncall@example.com>", "rcpt TO:<two@example.com>",
    ]  # fmt: skip
    assert text.splitlines() == [
        "project shop, target dev, as of 2026-03-01T12:00:00Z",
        "",
        "check      view    feature  value    bound",
        "freshness  clicks  n        7,200 s  3,600 s",
        "freshness  clicks  m        7,200 s  3,600 s",
        "    why: export: old",
        "    impact: bids are low",
        "    owner: ads@example.com",
        "",
        "could not be looked at (the run says why):",
        "    the warehouse",
    ]


def test_no_name_adds_a_header_or_a_line() -> None:
    found = monitored(NASTY * 50, "ü" * 500, NASTY, unchecked=(f"{NASTY * 99}: why",))
    with mail_receiver() as server:
        send_mail(f"smtp://127.0.0.1:{server.port}", found)
        send_mail(f"smtp://127.0.0.1:{server.port}", monitored(unchecked=(f"{NASTY}: why",)))
    for message in server.mails:
        assert max(map(len, message.split(b"\r\n"))) <= 998
        read, text = mailed(message)
        assert set(read) == {
            "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
            "Content-Transfer-Encoding",
        }  # fmt: skip
        assert read["Subject"].isprintable()
        assert len(read["Subject"]) <= 120
        assert all(line.isprintable() and len(line) < 600 for line in text.split("\n"))
        assert not re.search(r"^ *Bcc", text, re.MULTILINE)


def test_a_password_is_sent_after_starttls_only(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_LOCAL", ())
    with mail_receiver(login="app:s3cret") as server:
        with pytest.raises(PitJoinError, match=r"was not taken: it offers no STARTTLS, or no login"):
            send_mail(f"smtp://app:s3cret@127.0.0.1:{server.port}", monitored("n"))
        assert [line.partition(" ")[0] for line in server.lines] == ["ehlo", "QUIT"]
    with mail_receiver(files, login="app:s3cret") as server:
        url = f"smtp://app:s3cret@127.0.0.1:{server.port}"
        with pytest.raises(PitJoinError, match=r"no secure connection \(self.signed certificate\)"):
            send_mail(url, monitored("n"))
        assert not [line for line in server.lines if line.upper().startswith(("AUTH", "MAIL"))]
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        send_mail(url, monitored("n"))
        assert server.encrypted == [True]
        with pytest.raises(PitJoinError, match=r"it refuses the user or the password \(status 535\)$"):
            send_mail(url.replace("s3cret", "wrong"), monitored("n"))
        assert len(server.mails) == 1


def test_smtps(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_receiver(files, secure=True, login="us@er:s3/cret") as server:
        url = f"smtps://us%40er:s3%2Fcret@127.0.0.1:{server.port}"
        with pytest.raises(PitJoinError, match="no secure connection"):
            send_mail(url, monitored("n"))
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        send_mail(url, monitored("n"))
        assert server.encrypted == [True]


def test_a_server_without_tls_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_LOCAL", ())
    with mail_receiver() as server:
        url = f"smtp://127.0.0.1:{server.port}"
        with pytest.raises(PitJoinError, match="it offers no STARTTLS"):
            send_mail(url, monitored("n"))
        send_mail(f"{url}?starttls=no", monitored("n"))
        assert server.encrypted == [False]


def test_a_receiver_that_is_refused_is_named() -> None:
    with mail_receiver(refused="two@") as server:
        with pytest.raises(PitJoinError, match=r"was not taken: it refuses two@example.com$"):
            send_mail(f"smtp://127.0.0.1:{server.port}", monitored("n"), "one@example.com", "two@example.com")
        assert len(server.mails) == 1
        with pytest.raises(PitJoinError, match="it refuses all receivers"):
            send_mail(f"smtp://127.0.0.1:{server.port}", monitored("n"), "two@example.com")


def test_a_slow_or_missing_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_SECONDS", 0.3)
    slow, late = mail_receiver(before=lambda: time.sleep(2)), pytest.raises(PitJoinError, match="no answer in time")
    with slow as server, ends_within(1.5), late:
        send_mail(f"smtp://127.0.0.1:{server.port}", monitored("n"))
    with pytest.raises(PitJoinError, match=r"through smtp://127.0.0.1 was not taken: .*\(Connection refused\)"):
        send_mail(f"smtp://app:s3cret@127.0.0.1:{free_ports(1)[0]}", monitored("n"))


@pytest.mark.parametrize(
    ("to", "server", "sender", "why"),
    [
        ("a@example.com", None, "b@example.com", "set PIT_JOIN_SMTP"),
        ("a@example.com", "smtp://host", "", "set PIT_JOIN_SMTP"),
        ("", "smtp://host", "b@example.com", "'' is not an e-mail address"),
        ("a@example.com\nBcc: c@example.com", "smtp://host", "b@example.com", "is not an e-mail address"),
        ("A <a@example.com>", "smtp://host", "b@example.com", "is not an e-mail address"),
        ("a@example.com", "smtp://host", "b@example.com\r\nX: y", "is not an e-mail address"),
        ("a@example.com", "http://app:s3cret@host", "b@example.com", "must be a URL that begins with smtps://"),
        ("a@example.com", "smtp://app:s3cret@host:t0ken", "b@example.com", "must be a URL that begins with smtps://"),
        ("a@example.com", "smtp://app:s3cret@host?starttls=no", "b@example.com", "is not sent without TLS"),
        ("a@example.com", "smtp://app:s3cret@host?starttls=maybe", "b@example.com", "may have the option"),
        ("a@example.com", "smtp://host/t0ken", "b@example.com", "may have the option"),
        ("a@example.com", "smtps://app:s3cret%C3%A4@host", "b@example.com", "not ASCII"),
    ],
)
def test_what_mail_needs(
    to: str, server: str | None, sender: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    with pytest.raises(RequestError, match=why) as raised:
        read_mail([to], server, sender)
    assert not [secret for secret in SECRETS if secret in str(raised.value)]


def test_ports_and_tls_by_default() -> None:
    found = {
        url: read_mail(["a@example.com"], url, "b@example.com")
        for url in ("smtp://host", "smtps://host", "smtp://localhost", "smtp://host:25?starttls=no", "smtps://[::1]")
    }
    assert [(each.port, each.encrypted) for each in found.values()] == [
        (587, True), (465, True), (25, False), (25, False), (465, True),
    ]  # fmt: skip
    assert "s3cret" not in repr(read_mail(["a@example.com"], "smtps://app:s3cret@host", "b@example.com"))


# Prometheus -----------------------------------------------------------------------------------------------


def samples(path: Path) -> dict[tuple[str, ...], float]:
    """The samples of a file by the name and the values of the labels, without those of project and target."""
    found = {}
    for family in text_string_to_metric_families(path.read_text()):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("project"), labels.pop("target")) == ("shop", "dev")
            found[(sample.name.removeprefix("pit_join_check_"), *labels.values())] = sample.value
    return found


def test_a_textfile_has_one_sample_for_a_view_and_a_check(tmp_path: Path) -> None:
    view = 'first "one"\\n\n (logins)'
    features = (
        FeatureSkew("logins", view.removesuffix(" (logins)"), "count", rows=3, different=2),
        FeatureSkew("users", "users", "age", rows=3, match=3),
        FeatureSkew("users", "users", "gone", rows=3, not_compared=3),
        FeatureSkew("\ud800", "\ud800", "no text", rows=3, match=3),
    )
    path, before = tmp_path / "pit_join.prom", time.time()
    write_textfile(monitored("n", "m", unchecked=("it",), skew=Skew(3, features, (), (), (), ())), path)
    found = samples(path)
    for check in ("freshness", "skew"):
        assert before <= found.pop(("last_run_timestamp_seconds", check)) <= time.time()
    assert found == {
        ("breaches", "clicks", "freshness"): 2,
        ("breaches", view, "skew"): 1,
        ("breaches", "users", "skew"): 0,
        ("breaches", "?", "skew"): 0,
        ("unjudged", "clicks", "freshness"): 0,
        ("unjudged", view, "skew"): 0,
        ("unjudged", "users", "skew"): 1,
        ("unjudged", "?", "skew"): 0,
        ("unchecked", "freshness,skew"): 1,
    }


def test_everybody_may_read_a_textfile_and_sees_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "pit_join.prom"
    before = os.umask(0o077)
    try:
        write_textfile(monitored("n"), path)
        with path.open() as opened:
            write_textfile(monitored("n", "m"), path)
            assert 'view="clicks",check="freshness"} 1' in opened.read(), "the old file is as it was"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["pit_join.prom"]
    with pytest.raises(PitJoinError, match=r"missing/pit_join\.prom cannot be written: No such file"):
        write_textfile(monitored("n"), tmp_path / "missing" / "pit_join.prom")


def test_the_server_shows_a_textfile(tmp_path: Path) -> None:
    put(open_store(str(tmp_path / "online"), create=True), {"activity": {"user_id": ["a"], "n": [1]}})
    path = tmp_path / "pit_join.prom"
    with serving(tmp_path / "online", "--textfile", str(path)) as server:
        before = server.metrics()
        assert not [name for name in before if "_check_" in name]
        write_textfile(monitored(NASTY, "m"), path)
        labels = 'project="shop",target="dev",view="clicks",check="freshness"'
        assert server.metrics()[f"pit_join_check_breaches{{{labels}}}"] == 2
        path.write_text(f"pit_join_store_ready 7\n}}{{ nonsense\n{path.read_text()}pit_join_check_cut{{")
        found = server.metrics()
        assert (found["pit_join_store_ready"], found[f"pit_join_check_breaches{{{labels}}}"]) == (1, 2)
        assert {name.partition("{")[0] for name in found} >= {name.partition("{")[0] for name in before}
        names = [family.name for family in text_string_to_metric_families(server.client.get("/metrics").text)]
        assert len(names) == len(set(names))


# The command ----------------------------------------------------------------------------------------------


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[Monitoring]:
    """What `pit-join monitor` finds, as a list with one element."""
    found = [monitored("n")]
    monkeypatch.setattr(FeatureStore, "monitor", lambda self, **options: found[0])
    return found


def monitor(*options: str) -> Result:
    done = run("monitor", *options)
    assert not [secret for secret in SECRETS if secret in done.out + done.err]
    return done


@pytest.mark.parametrize(
    ("found", "status"),
    [(monitored("n"), 1), (monitored(unchecked=("it: locked",)), 3), (monitored("n", unchecked=("it",)), 1)],
)
def test_an_alert_that_fails_is_a_warning_and_changes_no_status(
    finds: list[Monitoring], found: Monitoring, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds[0] = found
    monkeypatch.setenv("PIT_JOIN_SMTP", f"smtp://app:s3cret@127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("PIT_JOIN_MAIL_FROM", "pit-join@example.com")
    plain = monitor()
    url = f"http://app:s3cret@127.0.0.1:{free_ports(1)[0]}/hooks/t0ken"
    done = monitor("--webhook", url, "--mail-to", "a@example.com", "--textfile", str(tmp_path / "none" / "a.prom"))
    assert (done.status, done.out) == (plain.status, plain.out)
    assert done.status == status
    assert done.err.removeprefix(plain.err).splitlines() == [
        f"warning: {tmp_path}/none/a.prom cannot be written: No such file or directory",
        "warning: the alert to http://127.0.0.1 was not taken: the connection failed (Connection refused)",
        "warning: the alert to a@example.com through smtp://127.0.0.1 was not taken: the connection failed "
        "(Connection refused)",
    ]


def test_the_environment_names_receivers(
    finds: list[Monitoring], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_receiver(200) as http, mail_receiver() as smtp:
        monkeypatch.setenv("PIT_JOIN_WEBHOOK", f"{http.url}/hooks/t0ken")
        monkeypatch.setenv("PIT_JOIN_SMTP", f"smtp://localhost:{smtp.port}")
        monkeypatch.setenv("PIT_JOIN_MAIL_FROM", "pit-join@example.com")
        done = monitor("--mail-to", "a@example.com,b@example.com", "--textfile", str(tmp_path / "a.prom"), "--json")
        assert (done.status, done.err, set(json.loads(done.out))) == (1, "", {"freshness"})
        assert ([path for path, _, _ in http.posts], len(smtp.mails)) == (["/hooks/t0ken"], 1)
        assert samples(tmp_path / "a.prom")["breaches", "clicks", "freshness"] == 1
        finds[0] = monitored()
        assert monitor("--mail-to", "a@example.com", "--textfile", str(tmp_path / "a.prom")).status == 0
        assert (len(http.posts), len(smtp.mails)) == (1, 1)
        assert samples(tmp_path / "a.prom")["breaches", "clicks", "freshness"] == 0


def test_a_receiver_that_cannot_be_read_is_refused_before_anything_is_looked_at(
    finds: list[Monitoring], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeatureStore, "monitor", lambda self, **options: pytest.fail("it was looked"))
    done = monitor("--mail-to", "a@example.com")
    assert (done.status, "set PIT_JOIN_SMTP" in done.err) == (2, True)
    monkeypatch.setenv("PIT_JOIN_WEBHOOK", "hooks.example.com/t0ken")
    done = monitor()
    assert (done.status, "the webhook must be a URL" in done.err) == (2, True)
