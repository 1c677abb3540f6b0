"""HTTPS servers on the loopback for tests and benchmarks of downloads: `Site`, which misbehaves as a test wants it, and
nginx; and a certificate for both. Standard library only; the program openssl makes the certificate."""
from __future__ import annotations

import http.server
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from daemon_process import free_port, until
from wire import DEADLINE

PIECE = 64 * 1024
HOST = "127.0.0.1"


class Certificate:
    """A certificate for 127.0.0.1 that vouches for itself: clients believe it with SSL_CERT_FILE=<file>."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=inferd test", "-addext", f"subjectAltName=IP:{HOST}",
                        "-keyout", self.key, "-out", self.file], check=True, capture_output=True, timeout=DEADLINE)


# The server that misbehaves


@dataclass
class Get:
    """A request as a server sees it."""
    path: str
    range: tuple[int, int] | None = None  # first and last byte
    if_range: str | None = None


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = 0   # what Content-Length says; None: the body comes in chunks, without a length
    endless: bool = False    # the body again and again


def whole(content: bytes, **headers: str) -> Reply:
    """The answer of a server that knows no ranges."""
    return Reply(200, headers, content, len(content))


def ranged(content: bytes, get: Get, tag: str = '"1"') -> Reply:
    """The answer of a server that knows ranges (RFC 9110 §13.1.5, §14)."""
    if get.range is None or get.if_range not in (None, tag):
        return whole(content, ETag=tag)
    first, last = get.range[0], min(get.range[1], len(content) - 1)
    if first > last:
        return Reply(416, {"Content-Range": f"bytes */{len(content)}"})
    headers = {"ETag": tag, "Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Reply(206, headers, content[first:last + 1], last + 1 - first)


class Site:
    """An HTTPS server whose answers a test makes: `answer` is called for each request, one at a time. After
    `hold_after` body bytes in all it sends no more until `go_on()`."""

    def __init__(self, certificate: Certificate, answer: Callable[[Get], Reply]) -> None:
        self.answer, self.certificate = answer, certificate
        self.requests: list[Get] = []
        self.body_bytes = 0  # handed to the kernel
        self.hold_after: int | None = None
        self.lock, self.may_go_on, self.holding = threading.Lock(), threading.Event(), threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        self.server = Server(self, context)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def url(self, path: str = "/model.gguf", user: str = "") -> str:
        return f"https://{user}{HOST}:{self.server.server_address[1]}{path}"

    def take(self, get: Get) -> Reply:
        with self.lock:
            self.requests.append(get)
            return self.answer(get)

    def allowance(self, wanted: int) -> int:
        """How many bytes of a body may be sent now, at most `wanted`; waits while the site holds."""
        while True:
            with self.lock:
                room = wanted if self.hold_after is None else min(wanted, self.hold_after - self.body_bytes)
                if room > 0:
                    self.body_bytes += room
                    return room
                self.may_go_on.clear()
                self.holding.set()
            assert self.may_go_on.wait(DEADLINE), "the site was held for longer than any test lasts"

    def hold(self, after: int) -> None:
        """Sends `after` more bytes of bodies and no more."""
        with self.lock:
            self.hold_after = self.body_bytes + after
            self.holding.clear()

    def go_on(self) -> None:
        with self.lock:
            self.hold_after = None
            self.may_go_on.set()

    def forget(self) -> None:
        """Counts from zero."""
        with self.lock:
            self.requests.clear()
            self.body_bytes = 0

    def close(self) -> None:
        self.go_on()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, site: Site, context: ssl.SSLContext) -> None:
        self.site, self.context = site, context
        super().__init__((HOST, 0), Handler)

    def finish_request(self, request: socket.socket, client_address) -> None:
        """On the connection's own thread: a client that begins no TLS holds up nobody."""
        request.settimeout(DEADLINE)
        with self.context.wrap_socket(request, server_side=True) as connection:
            self.RequestHandlerClass(connection, client_address, self)

    def handle_error(self, request, client_address) -> None:
        """Clients hang up, are killed and distrust certificates: that is what the tests do."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        get = Get(self.path, (int(asked[1]), int(asked[2])) if asked else None, self.headers.get("If-Range"))
        reply = self.server.site.take(get)
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        chunked = reply.length is None
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(reply.length))))
        self.end_headers()
        self.send_body(reply, chunked)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif reply.length != len(reply.body):
            self.close_connection = True

    def send_body(self, reply: Reply, chunked: bool) -> None:
        body = memoryview(reply.body)
        while True:
            for at in range(0, len(body), PIECE):
                piece = body[at:at + PIECE]
                while piece:
                    size = self.server.site.allowance(len(piece))
                    part = bytes(piece[:size])
                    self.wfile.write(b"%x\r\n%b\r\n" % (size, part) if chunked else part)
                    piece = piece[size:]
            if not reply.endless:
                return

    def log_message(self, *_) -> None:
        pass


# nginx

NGINX_CONFIG = """
{user}
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format counted '$status $body_bytes_sent $http_range';
  access_log {folder}/access.log counted;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  sendfile on;
  server {{
    listen {host}:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    root {root};
  }}
}}
"""


class Nginx:
    """The real one, as a user without rights could run it; serves the files of `root`. `folder`: for what it writes."""

    def __init__(self, program: str, certificate: Certificate, root: Path, folder: Path) -> None:
        self.port = free_port(HOST)
        self.log = folder / "access.log"
        config = folder / "nginx.conf"
        user = "" if os.geteuid() else "user root;"  # else its workers could not enter our folder
        config.write_text(NGINX_CONFIG.format(user=user, folder=folder, host=HOST, port=self.port, root=root,
                                              certificate=certificate.file, key=certificate.key))
        self.output = folder / "output"
        with self.output.open("wb") as output:
            command = [program, "-p", folder, "-c", config, "-e", folder / "error.log"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        until(self.answers, "nginx accepts")

    def answers(self) -> bool:
        assert self.process.poll() is None, f"nginx ended: {self.output.read_text()}"
        try:
            socket.create_connection((HOST, self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def url(self, name: str) -> str:
        return f"https://{HOST}:{self.port}/{name}"

    def stop(self) -> list[tuple[int, int]]:
        """Ends it when it has logged all it did: status and body bytes of each answer. The bytes are those that it gave
        to the kernel: what lay in a socket's buffer when the client was killed is counted, though it went nowhere."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(DEADLINE)
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [(int(status), int(size)) for status, size, *_ in lines]

    def kill(self) -> None:
        """For a way out past stop()."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)
