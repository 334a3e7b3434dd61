"""A store whose server Sentinel names: read and exported to wherever the master is, and no secret is shown."""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from http_servers import serving
from servers import Server, free_ports, redis_binary, running, sentinel
from support.stores import put

from pit_join.errors import StoreError, StoreUrlError
from pit_join.online.opening import open_store
from pit_join.online.several import SeveralStores
from pit_join.online.urls import store_url
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

pytestmark = [pytest.mark.redis, pytest.mark.rest]

LATE = 30.0
USERS = {"user_id": ["a", "b"], "n": [1, 2]}
ACTIVITY = [Request("activity", ("*",), "activity")]


@dataclass
class Watched:
    """A master with a replica, and the port of the Sentinel that watches them."""

    master: Server
    replica: Server
    port: int

    def url(self, secrets: str = ":secret@", query: str = "") -> str:
        """The URL of the store; the first Sentinel does not answer."""
        return f"redis+sentinel://{secrets}127.0.0.1:{free_ports(1)[0]},127.0.0.1:{self.port}/lab/0{query}"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    binary, secret = redis_binary(), ("--requirepass", "secret", "--masterauth", "secret")
    with running(binary, tmp_path / "master", *secret, "--repl-diskless-sync-delay", "0", password="secret") as master:
        of_master = ("--replicaof", "127.0.0.1", str(master.port))
        with (
            running(binary, tmp_path / "replica", *secret, *of_master, password="secret") as replica,
            sentinel(binary, tmp_path / "sentinel", master, "requirepass guarded", password="guarded") as port,
        ):
            with redis.Redis(port=port, password="guarded") as client:
                until(lambda: client.info("sentinel")["master0"]["slaves"] == 1)
            yield Watched(master, replica, port)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LATE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_failover_is_followed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """By readers, over HTTP and by exports, without a restart."""
    monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "secret")
    monkeypatch.setenv("PIT_JOIN_REDIS_SENTINEL_PASSWORD", "guarded")
    url = watched.url("", "?timeout=2")
    with closing(open_store(url)) as store:
        put(store, {"activity": USERS})
    with redis.Redis(port=watched.replica.port, password="secret") as client:
        assert client.info("replication")["role"] == "slave"
        until(lambda: client.exists("{pit_join}:contents"))
    stores = SeveralStores({"": f"{url}&cache_mb=0"})
    reader = OnlineReader(stores, ACTIVITY, strict=False, deadline=5)
    ask = {"features": ["activity:n"], "entities": {"user_id": ["a"]}}
    with serving(watched.url(query="?sentinel_password=guarded"), "--deadline", "5 s") as http:
        assert reader.get({"user_id": "a"}) == {"n": 1}
        assert http.ask(ask).json()["results"][1]["values"] == [1]
        watched.master.stop()
        assert reader.get({"user_id": "a"}).statuses == {"n": "STORE_FAILED"}
        until(lambda: reader.get({"user_id": "a"}) == {"n": 1})
        until(lambda: http.ask(ask).json()["results"][1]["values"] == [1])
        until(lambda: can_be_opened(url))  # the Sentinels do not learn of it all at once
        with closing(open_store(url)) as store:
            put(store, {"activity": {"user_id": ["a", "b"], "n": [10, 20]}})
        assert reader.get({"user_id": "a"}) == {"n": 10}
        assert http.ask(ask).json()["results"][1]["values"] == [10]
    stores.close()


def can_be_opened(url: str) -> bool:
    try:
        open_store(url).close()
    except StoreError:
        return False
    return True


def test_passwords(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the server and of Sentinel; neither is in a message."""
    put_in_url = watched.url(query="?sentinel_password=guarded")
    with closing(open_store(put_in_url)) as store:
        put(store, {"activity": USERS})
        assert OnlineReader(store, ACTIVITY).get({"user_id": "b"}) == {"n": 2}
    for url, says in (
        (watched.url(), r"a Sentinel of redis\+sentinel://127.* PIT_JOIN_REDIS_SENTINEL_PASSWORD"),
        (watched.url(query="?sentinel_password=hidden"), "a Sentinel of .* PIT_JOIN_REDIS_SENTINEL_PASSWORD"),
        (watched.url(":hidden@", "?sentinel_password=guarded"), "refuses the user or password .*PIT_JOIN_REDIS_PASSW"),
        (watched.url("", "?sentinel_password=guarded"), "PIT_JOIN_REDIS_PASSWORD"),
        (put_in_url.replace("/lab/", "/hospital/"), "no Sentinel that answers knows a master of that name that is up"),
    ):
        with pytest.raises(StoreError, match=says) as caught:
            open_store(url)
        shown = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
        assert not [secret for secret in ("hidden", "guarded", ":secret") if secret in shown]
    monkeypatch.setenv("PIT_JOIN_REDIS_SENTINEL_PASSWORD", "guarded")
    monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "secret")
    open_store(watched.url("")).close()


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    files = {"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": certificate}
    settings = [f"{name} {value}" for name, value in files.items()] + ["tls-auth-clients no", "tls-replication yes"]
    options = [part for line in settings for part in f"--{line}".split()]
    trust = {"ssl_ca_certs": str(certificate)}
    with (
        running(redis_binary(), tmp_path / "master", "--tls-port", *options, "--requirepass", "secret",
                password="secret", **trust) as master,
        sentinel(redis_binary(), tmp_path / "sentinel", master, "port 0", *settings, **trust) as port,
    ):  # fmt: skip
        url = f"rediss+sentinel://:secret@127.0.0.1:{port}/lab?ssl_ca_certs={certificate}"
        with closing(open_store(url)) as store:
            put(store, {"activity": USERS})
            assert OnlineReader(store, ACTIVITY).get({"user_id": "b"}) == {"n": 2}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://u:hidden@a:1,b:2/lab/0?prefix=a", "redis+sentinel://a:1,b:2/lab/0?prefix=a"),
        ("redis+sentinel://a,b/lab?sentinel_password=hidden", "redis+sentinel://a,b/lab?sentinel_password=***"),
        ("rediss+sentinel://:hid@den@a,[::1]:2/lab", "rediss+sentinel://a,[::1]:2/lab"),
        ("redis+sentinel://u:hidden", "redis+sentinel://u:***"),
        ("redis+sentinel://a:1,u:hidden/lab", "redis+sentinel://a:***"),
        ("redis+sentinel:/:hidden@a/lab", "***"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert store_url(url) == shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://:hidden@a:1,b:2", r"cannot be read .*redis\+sentinel://.*HOST.*/SERVICE"),
        ("redis+sentinel://:hidden@a:1,,b:2/lab", r"cannot be read .*redis\+sentinel://.*HOST.*/SERVICE"),
        ("redis+sentinel:///lab", r"cannot be read .*redis\+sentinel://.*HOST.*/SERVICE"),
        (
            "redis+sentinel://:hidden@a:1/lab/zero",
            "a database is a number, as in redis.sentinel://host:26379/mymaster/0",
        ),
        ("redis+sentinel://:hidden@a:1,b:many/lab", "its port is not a number up to 65535"),
        ("redis+sentinel://:hidden@127.0.0.1:1/lab?timout=1", "its option 'timout' is unknown"),
        ("redis+sentinel://:hid?den@a:1/lab", r"^redis\+sentinel://\*\*\* cannot be read .*%3F for \?"),
        ("redis+sentinel:/:hidden@a:1/lab", "begins like a URL, but has no '://'"),
    ],
)
def test_a_url_that_cannot_be_read(url: str, says: str) -> None:
    with pytest.raises(StoreUrlError, match=says) as caught:
        open_store(url)
    shown = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert "hid" not in shown
