"""Servers that take alerts: one of HTTP and one of SMTP, in threads of this process, and a certificate for them."""

from __future__ import annotations

import base64
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["HttpReceiver", "MailReceiver", "http_receiver", "mail_receiver", "make_certificate"]


@dataclass
class HttpReceiver:
    """A server on 127.0.0.1: the requests that it was sent."""

    url: str
    posts: list[tuple[str, Message, bytes]] = field(default_factory=list)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=somebody",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def _secure(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@contextmanager
def http_receiver(
    *answers: int | Callable[[BaseHTTPRequestHandler], None], files: tuple[Path, Path] | None = None
) -> Iterator[HttpReceiver]:
    """A server that answers with statuses, or as functions do; the last answer is that of all further requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = answers[min(len(receiver.posts), len(answers) - 1)]
            receiver.posts.append((self.path, self.headers, body))
            with suppress(OSError):  # the client has left
                if callable(answer):
                    answer(self)
                else:
                    self.send_response(answer)
                    self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> Any:
            request, address = super().get_request()
            return (_secure(files).wrap_socket(request, server_side=True) if files else request), address

    with _running(Server(("127.0.0.1", 0), Handler)) as port:
        receiver = HttpReceiver(f"http{'s' if files else ''}://127.0.0.1:{port}")
        yield receiver


@dataclass
class MailReceiver:
    """A server on 127.0.0.1: what it was told, line by line, and the mails that it took."""

    port: int
    lines: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)


@contextmanager
def mail_receiver(
    files: tuple[Path, Path] | None = None,
    *,
    secure: bool = False,
    login: str = "",
    refused: str = "",
    before: Callable[[], object] = lambda: None,
) -> Iterator[MailReceiver]:
    """A server that offers STARTTLS if it has a certificate, or is `secure` from the beginning.

    It takes mails only after the `login` "user:password" if there is one, and none for a `refused` address; `before` is
    called before its greeting.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the client has left
                if secure and files:
                    self._encrypt()
                before()
                self._say("220 ready")
                while line := self.rfile.readline().decode().rstrip("\r\n"):
                    receiver.lines.append(line)
                    if line == "QUIT":
                        self._say("221 bye")
                        break
                    self._obey(line)

        def _obey(self, line: str) -> None:
            encrypted = isinstance(self.connection, ssl.SSLSocket)
            word, _, rest = line.upper().partition(" ")
            if word == "EHLO":
                offers = (["STARTTLS"] if files and not encrypted else []) + (["AUTH PLAIN"] if login else [])
                self._say("\r\n".join(["250-here", *(f"250-{offer}" for offer in offers), "250 8BITMIME"]))
            elif word == "STARTTLS":
                self._say("220 go on")
                self._encrypt()
            elif word == "AUTH":
                told = base64.b64decode(line.split()[2]).decode().split("\0", 1)[1].replace("\0", ":")
                self._say("235 welcome" if told == login else f"535 not {told}")
            elif word == "RCPT" and refused and refused.upper() in rest:
                self._say("550 unknown")
            elif word == "DATA":
                self._say("354 go on")
                receiver.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                receiver.encrypted.append(encrypted)
                self._say("250 taken")
            else:
                self._say("250 fine")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def _encrypt(self) -> None:
            assert files
            self.connection = _secure(files).wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", 0)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            self.connection.close()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with _running(Server(("127.0.0.1", 0), Handler)) as port:
        receiver = MailReceiver(port)
        yield receiver


@contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
