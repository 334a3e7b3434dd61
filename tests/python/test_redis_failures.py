"""What users of Redis meet on bad days: each is one clear error, in time; never a hang, never a wrong value."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
import redis
from http_servers import serving
from servers import Server, cluster, counting, free_ports, redis_binary, running, valkey_binary
from support.forks import programs
from support.projects import BASE, KEYS, make_project, view
from support.stores import AT, put
from writing import replace_all

from pit_join.errors import StoreError, StoreUrlError
from pit_join.online.opening import open_store
from pit_join.online.redis_writer import hash_of
from pit_join.online.stores import redis_store
from pit_join.online.urls import store_url
from pit_join.records.keys import KeyCodec
from pit_join.records.store_manifest import Contents
from pit_join.references import Request
from pit_join.serving.reader import OnlineReader

pytestmark = [pytest.mark.dbt, pytest.mark.redis]

TIMEOUT = 0.5
ROWS = 200
USERS = {"user_id": [f"u{i}" for i in range(ROWS)], "a": list(range(ROWS))}


def prepared(url: str) -> OnlineReader:
    store = open_store(f"{url}?timeout={TIMEOUT}")
    put(store, {"activity": USERS})
    return OnlineReader(store, [Request("activity", ("*",), "activity")])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(valkey_binary(), tmp_path / "server") as started:
        yield started


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.mark.rest
def test_an_export_of_many_batches_with_defaults(server: Server, tmp_path: Path) -> None:
    """The rows go to disk, and what is asked of the warehouse after them is answered."""
    value = "{name: value, data_type: double, config: {meta: {pit_join: {default: 0.5}}}}"
    folder = make_project(tmp_path / "lab", {"activity": view(KEYS, f"{BASE}, {value}")})
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        columns = "'u' || i as user_id, timestamptz '2026-01-01' as event_timestamp, nullif(i, 3)::double as value"
        connection.execute(f"create table activity as select {columns} from range(150000) as r(i)")
    command = [programs() / "pit-join", "--project-dir", str(folder), "--store", server.url]
    done = subprocess.run([*command, "export"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "150,000" in done.stdout
    reader = OnlineReader(open_store(server.url), [Request("activity", ("*",), "activity")])
    found = reader.get_online_features({"user_id": ["u3", "u149999", "u150000"]}).to_dict()
    assert found["value"] == [0.5, 149_999.0, 0.5]


def test_stopped(server: Server) -> None:
    reader = prepared(server.url)
    server.stop()
    for _ in range(3):
        with ends_within(TIMEOUT), pytest.raises(StoreError, match=rf"127.0.0.1:{server.port}.* cannot be reached"):
            reader.get({"user_id": "u1"})
    with ends_within(TIMEOUT), pytest.raises(StoreError, match="cannot be reached"):
        open_store(server.url)


def test_paused(server: Server) -> None:
    reader = prepared(server.url)
    server.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            with ends_within(2 * TIMEOUT), pytest.raises(StoreError, match=r"did not answer within 0\.5 s"):
                reader.get({"user_id": "u1"})
        with ends_within(2 * TIMEOUT), pytest.raises(StoreError, match=r"did not answer within 0\.5 s"):
            open_store(f"{server.url}?timeout={TIMEOUT}")
    finally:
        server.process.send_signal(signal.SIGCONT)
    # The answers to what was given up must not be taken for those of the next requests.
    for i in range(50):
        assert reader.get({"user_id": f"u{i}"}) == {"a": i}


def test_restarted_empty(server: Server) -> None:
    reader = prepared(server.url)
    server.stop()
    with redis.Redis(port=server.port) as client:
        server.start(client)
    with pytest.raises(StoreError, match="nothing was exported to the online store yet; run pit-join export"):
        reader.get({"user_id": "u1"})
    put(open_store(server.url), {"activity": USERS})
    assert reader.get({"user_id": "u1"}) == {"a": 1}


def test_a_server_that_has_lost_everything_is_asked_once_a_read(server: Server) -> None:
    """That it is empty is known after the first read, as long as it says that nothing has changed."""
    put(open_store(server.url), {"activity": USERS})
    with counting(server) as (port, asked):
        store = open_store(f"redis://127.0.0.1:{port}/0")
        reader = OnlineReader(store, [Request("activity", ("*",), "activity")], strict=False)
        with redis.Redis(port=server.port) as client:
            client.flushall()
        assert reader.get({"user_id": "u1"}).statuses == {"a": "NOT_EXPORTED"}
        before = asked()
        for _ in range(3):
            assert reader.get({"user_id": "u1"}).statuses == {"a": "NOT_EXPORTED"}
        assert asked() == before + 3
        put(open_store(server.url), {"activity": USERS})
        assert reader.get({"user_id": "u1"}) == {"a": 1}
        store.close()


def test_emptied_beside_us(server: Server) -> None:
    """An export must not believe that what it wrote last is still there."""
    reader = prepared(server.url)
    with redis.Redis(port=server.port) as client:
        for name in client.scan_iter("pit_join:{user:*"):
            client.delete(name)
    assert reader.get({"user_id": "u1"}) == {"a": None}
    changes, _ = put(open_store(server.url), {"activity": USERS})
    assert changes["activity"].written == ROWS
    assert reader.get({"user_id": "u1"}) == {"a": 1}


def test_a_key_that_another_program_has_taken(server: Server) -> None:
    """It costs its own records, and an export says which key it is; without it all is as before."""
    users = [f"u{number}" for number in range(100)]
    put(open_store(server.url), {"activity": USERS})
    reader = OnlineReader(open_store(server.url), [Request("activity", ("*",), "activity")], strict=False)
    wanted = reader.get_online_features({"user_id": users}).to_dict()["a"]
    codec = KeyCodec({"user_id": "string"})
    names = [f"pit_join:{{user:{hash_of(codec.encode({'user_id': user}) or b'')}}}" for user in users]
    name, lost = names[0], [each == names[0] for each in names]
    with redis.Redis(port=server.port) as client:
        client.delete(name)
        client.set(name, "theirs")
        found = reader.get_online_features({"user_id": users})
        assert found.statuses["a"] == ["STORE_FAILED" if each else "PRESENT" for each in lost]
        assert found.to_dict()["a"] == [None if each else value for each, value in zip(lost, wanted, strict=True)]
        with pytest.raises(StoreError, match=rf"^the key '{name}' of redis:.* is not what an export has written"):
            put(open_store(server.url), {"activity": {**USERS, "a": [2] * ROWS}})
        client.delete(name)
    put(open_store(server.url), {"activity": USERS})
    assert reader.get_online_features({"user_id": users}).to_dict()["a"] == wanted


def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(valkey_binary(), tmp_path, "--requirepass", "secret", password="secret") as server:
        with pytest.raises(StoreError, match="PIT_JOIN_REDIS_PASSWORD"):
            open_store(server.url)
        monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "wrong")
        with pytest.raises(StoreError, match=r"refuses the user or password .*PIT_JOIN_REDIS_PASSWORD") as refused:
            open_store(server.url)
        assert "wrong" not in str(refused.value)
        monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "secret")
        put(open_store(server.url), {"activity": USERS})
        monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "")
        with pytest.raises(StoreError) as refused:
            open_store(server.url.replace("://", "://user:hidden@"))
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hidden@host:1/0?prefix=a", "redis://host:1/0?prefix=a"),
        ("redis://host/0?password=hidden&username=hidden", "redis://host/0?password=***&username=***"),
        ("rediss://host?ssl_keyfile=hidden&timeout=2", "rediss://host?ssl_keyfile=***&timeout=2"),
        ("redis://host/0?password=hid@den", "redis://***"),
        ("redis://:hid@den:hid@host:1/0", "redis://host:1/0"),
        ("redis://host:1/0#hidden", "redis://host:1/0"),
        ("redis:/:hidden@host", "***"),
        ("u:hidden@host", "***"),
        ("redis://host/0?timeout=1;password=hidden", "redis://host/0?timeout=***"),
        ("redis://host/0?prefix=a.b-c_1", "redis://host/0?prefix=a.b-c_1"),
        ("online/dev@2", "online/dev@2"),
        ("C:/online", "C:/online"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert store_url(url) == shown


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    options = {"ssl_ca_certs": str(certificate), "ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    with running(
        redis_binary(), tmp_path / "server", "--tls-port", *files, "--tls-auth-clients", "no", **options
    ) as server:
        reader = prepared_with(f"{server.url}?ssl_ca_certs={certificate}")
        assert reader.get({"user_id": "u1"}) == {"a": 1}
        with pytest.raises(StoreError, match=r"cannot be reached: .*certificate"):
            open_store(server.url)


def prepared_with(url: str) -> OnlineReader:
    store = open_store(url)
    put(store, {"activity": USERS})
    return OnlineReader(store, [Request("activity", ("*",), "activity")])


def test_no_server_and_no_host() -> None:
    (port,) = free_ports(1)
    with ends_within(2), pytest.raises(StoreError, match=rf"redis://127.0.0.1:{port}/0 cannot be reached"):
        open_store(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(StoreError, match="the timeout is a number of seconds above 0"):
        open_store(f"redis://127.0.0.1:{port}/0?timeout=soon")
    with pytest.raises(StoreError, match="a prefix has no braces"):
        open_store(f"redis://127.0.0.1:{port}/0?prefix={{x}}")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://", "its form is redis://"),
        ("redis://localhost:99999/0", "its port is not a number up to 65535"),
        ("redis://localhost:abc/0", "its port is not a number"),
        ("redis://user:hidden", r"^redis://user:\*\*\* cannot be read .*its port is not a number"),
        ("redis://[::1/0", "its form is redis://"),
        ("redis://localhost:1/zero", "a database is a number"),
        ("redis://localhost:1/hidden", r"^redis://localhost:\*\*\*: a database is a number"),
        ("redis://user:hid/den@localhost:1/0", "redis://localhost:1/0.*write %2F for /"),
        ("redis://user:12/hidden@localhost:1/0", "redis://localhost:1/0.*write %2F for /"),
        ("redis://:hid?den@localhost:1/0", r"^redis://\*\*\* cannot be read .*%3F for \?"),
        ("redis://:hid[den@localhost:1/0", "redis://localhost:1/0 cannot be read .*%5B for \\["),
        ("redis://:hidden@localhost:1/0?timout=1", "redis://localhost:1/0.* cannot be read .*'timout' is unknown"),
        ("redis://localhost:1/0?ssl_password=hidden", r"ssl_password=\*\*\* cannot be read .*'ssl_password' is unk"),
        ("redis://localhost:1/0?socket_timeout=hidden", "its option 'socket_timeout' has a wrong value"),
        ("redis:/:hidden@localhost:1/0", "begins like a URL, but has no '://'"),
        ("redis:hidden@localhost:1/0", "begins like a URL"),
        ("redis//:hidden@localhost:1/0", "begins like a URL"),
        ("postgres://u:hidden@localhost/hidden", r"^no online store is known for postgres://localhost:\*\*\*;"),
        ("unix:///hidden", r"^no online store is known for unix://:\*\*\*;"),
        ("rediss://localhost:1/0?ssl_cert_reqs=hidden", "its option 'ssl_cert_reqs' has a wrong value"),
        ("redis://localhost:1/0?cache_mb=hidden", "cache_mb is a number, 0 or more$"),
        ("redis://localhost:1/0?timeout=1;password=hidden", "timeout=.*: the timeout is a number of seconds above 0"),
        ("user:hidden@localhost:6379/0", "begins like a URL"),
        ("u:hidden@localhost:6379/0", "begins like a URL"),
        ("//u:hidden@localhost:6379/0", "begins like a URL"),
        ("127.0.0.1:6379", "begins like a URL, but has no '://'; write"),
        ("redis.internal:6379/0", "begins like a URL"),
        ("redis://localhost:1/0?timeout=nan", "the timeout is a number of seconds above 0"),
        ("redis://localhost:1/0?timeout=inf", "the timeout is a number of seconds above 0"),
    ],
)
def test_a_url_that_cannot_be_read(url: str, says: str) -> None:
    with pytest.raises(StoreUrlError, match=says) as caught:
        open_store(url)
    assert caught.value.exit_status == 2
    shown = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert "hid" not in shown


def test_out_of_memory(tmp_path: Path) -> None:
    with running(valkey_binary(), tmp_path, "--maxmemory", "3mb") as server:
        reader = prepared(server.url)
        large = {"user_id": list(range(20_000)), "text": [f"{i:0>200}" for i in range(20_000)]}
        with pytest.raises(StoreError, match=r"refuses: .*maxmemory"):
            put(open_store(server.url), {"large": large})
        assert reader.get({"user_id": "u1"}) == {"a": 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["stopped", "paused"])
@pytest.mark.rest
def test_a_node_of_the_cluster_is_down(how: signal.Signals, tmp_path: Path) -> None:
    with cluster(valkey_binary(), tmp_path) as servers:
        reader = prepared(servers[0].url)
        assert reader.get({"user_id": "u1"}) == {"a": 1}
        # Which node has the contents is known; one that has not goes.
        with redis.RedisCluster("127.0.0.1", servers[0].port) as client:
            kept = client.get_node_from_key("{pit_join}:version").port
        servers = sorted(servers, key=lambda server: server.port == kept)
        servers[0].process.send_signal(how)
        served, failed = 0, []
        for i in range(ROWS):
            with ends_within(2 * TIMEOUT):
                try:
                    assert reader.get({"user_id": f"u{i}"}) == {"a": i}
                    served += 1
                except StoreError as error:
                    failed.append(str(error))
            if len(failed) >= 5 and served:
                break
        assert served, failed[:1]
        assert failed
        assert all(
            "127.0.0.1" in message and re.search("cannot be reached|cluster|did not answer", message)
            for message in failed
        )
        with ends_within(2 * TIMEOUT), pytest.raises(StoreError):
            reader.get_online_features({"user_id": USERS["user_id"]})


def test_a_view_that_changes_its_entity_leaves_nothing(server: Server) -> None:
    """Its records have the same view and schema, in hashes of another name; the export after the next has them gone."""
    store = open_store(server.url)
    for entity in ("user", "person", "person"):
        put(store, {"activity": USERS}, entity=entity)
    with redis.Redis(port=server.port) as client:
        assert not list(client.scan_iter("pit_join:{user:*"))
        assert list(client.scan_iter("pit_join:{person:*"))


def test_a_killed_export_is_taken_over(server: Server) -> None:
    reader = prepared(server.url)
    code = (
        "import sys, time\nfrom pit_join.online.opening import open_store\n"
        "from pit_join.online.stores import redis_store\nredis_store._LOCK_SECONDS = 1\n"
        "with open_store(sys.argv[1]).writing(1, print): print('holds', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, server.url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        holder.kill()
    said: list[str] = []
    with open_store(server.url).writing(10, said.append):
        pass
    assert reader.get({"user_id": "u1"}) == {"a": 1}


def test_an_export_may_take_longer_than_its_lock(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while it waits for the warehouse: nobody may take over, and it goes on."""
    monkeypatch.setattr(redis_store, "_LOCK_SECONDS", 0.6)
    store, other = open_store(server.url), open_store(server.url)
    with store.writing(1, lambda message: None) as writer:
        time.sleep(1.5)
        with pytest.raises(StoreError, match="another export is at work"), other.writing(0, lambda message: None):
            pytest.fail("two exports at once")
        contents = Contents("demo", "dev", AT, {})
        replace_all(writer, contents.to_json(), {}, {}, 1, False)


def test_an_export_that_lost_its_lock_does_not_go_on(server: Server) -> None:
    """As after a pause of the machine."""

    def overtaken() -> None:
        with open_store(server.url).writing(1, lambda message: None) as writer:
            with redis.Redis(port=server.port) as client:
                client.set("{pit_join}:lock", "of another")
            contents = Contents("demo", "dev", AT, {})
            replace_all(writer, contents.to_json(), {}, {}, 1, False)

    with pytest.raises(StoreError, match="another export took over"):
        overtaken()


def test_an_evicted_lock_is_none_that_was_taken(server: Server) -> None:
    def lost() -> None:
        with open_store(server.url).writing(1, lambda message: None) as writer:
            with redis.Redis(port=server.port) as client:
                client.delete("{pit_join}:lock")
            replace_all(writer, Contents("demo", "dev", AT, {}).to_json(), {}, {}, 1, False)

    with pytest.raises(StoreError, match=r"has lost the lock of this export: it was evicted .* run it again$"):
        lost()


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ((), False),
        (("--maxmemory", "100mb"), False),
        (("--maxmemory-policy", "allkeys-lru"), False),  # without a limit nothing is evicted
        (("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), True),
        (("--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"), True),
    ],
    ids=["neither", "a limit", "a policy", "both", "of keys that expire"],
)
def test_a_server_that_may_evict_records(options: tuple[str, ...], warns: bool, tmp_path: Path) -> None:
    """Which would be served as NOT_FOUND: export and server say so."""
    with running(valkey_binary(), tmp_path / "server", *options) as server:
        put(open_store(server.url), {"activity": USERS})
        said = list(open_store(server.url).warnings())
        expected = f"{server.url} may evict records (maxmemory-policy {options[-1]}), which are then " if warns else ""
        assert [text[: len(expected)] for text in said] == ([expected] if warns else [])
        with serving(server.url) as http:
            assert any(text.startswith(f"warning: {expected}") for text in http.said) == warns


def test_a_user_who_may_not_ask_for_info(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis.Redis(port=server.port) as client:
        client.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    monkeypatch.setenv("PIT_JOIN_REDIS_USERNAME", "app")
    monkeypatch.setenv("PIT_JOIN_REDIS_PASSWORD", "secret")
    store = open_store(server.url)
    put(store, {"activity": USERS})
    (said,) = store.warnings()
    assert said.startswith(f"whether {server.url} may evict records is unknown, since INFO is forbidden to this user")
    assert OnlineReader(store, [Request("activity", ("*",), "activity")]).get({"user_id": "u1"}) == {"a": 1}


@pytest.mark.rest
def test_round_trips(server: Server) -> None:
    """However many features are asked for, the server is asked once."""
    store = open_store(server.url)
    rows = {"user_id": [f"u{i}" for i in range(500)]}
    kept = {}
    for name, columns in (("small", 3), ("wide", 2500)):
        table = rows | {f"{name}_{i}": [float(i)] * 500 for i in range(columns)}
        _, kept = put(store, {name: table}, kept=kept)
    with counting(server) as (port, asked):
        store = open_store(f"redis://127.0.0.1:{port}/0")
        requests = [Request(name, ("*",), name) for name in ("small", "wide")]
        readers = [OnlineReader(store, wanted) for wanted in (requests[:1], requests[1:], requests)]
        for reader in readers:
            before = asked()
            assert len(reader.get({"user_id": "u1"})) == len(reader.names)
            assert asked() == before + 1
            assert len(reader.get_online_features({"user_id": rows["user_id"]}).to_numpy()) == 500
            assert asked() == before + 2
        store.close()


def test_threads_share_a_reader(server: Server) -> None:
    reader = prepared(server.url)
    wrong: list[object] = []

    def ask(start: int) -> None:
        for i in range(200):
            number = (start + i) % ROWS
            found = reader.get({"user_id": f"u{number}"})
            if found != {"a": number}:
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(i * 25,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_interrupt_between_two_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request has the connection: it must not be given the answers that are still to come."""
    reader = prepared(server.url)
    expected = reader.get_online_features({"user_id": ["u1", "u2", "u3"]}).to_dict()
    read, answers = redis.Connection.read_response, iter([False, True])

    def interrupted(connection: redis.Connection, *args: object, **options: object) -> object:
        found = read(connection, *args, **options)
        if next(answers, False):
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(redis.Connection, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reader.get_online_features({"user_id": ["u7", "u8", "u9"]})
    assert reader.get_online_features({"user_id": ["u1", "u2", "u3"]}).to_dict() == expected
