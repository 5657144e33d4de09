"""The service behind a real nginx with TLS, configured by the files of `deploy/nginx`."""

import datetime
import ipaddress
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import raw
from conftest import DEADLINE, ISSUE, Server, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy" / "nginx"
OK = '{"status":200,"message":"Ok","code":0}'
EVENT = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[]}}'
IDLE = 75  # seconds; longer than nginx' proxy_read_timeout


class Nginx:
    """nginx in front of `server`; browsers connect to `url`, and `tls` trusts its certificate."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.tls = make_certificate(folder)
        self.port = port = free_port()
        self.url = f"wss://127.0.0.1:{port}/ws"
        address = server.url.removeprefix("ws://").removesuffix("/ws")
        http = (DEPLOY / "airlay-http.conf").read_text()
        assert http.count("127.0.0.1:8081") == 1
        (folder / "airlay-http.conf").write_text(http.replace("127.0.0.1:8081", address))
        config = folder / "nginx.conf"
        config.write_text(
            f"user root; daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log notice;\n"
            "events { worker_connections 512; }\n"
            f"http {{ include {folder}/airlay-http.conf;\n"
            + "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
            + f"server {{ listen 127.0.0.1:{port} ssl;\n"
            f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;\n"
            f"include {DEPLOY}/airlay-location.conf; }} }}\n"
        )
        self.error_log = folder / "error.log"
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen([program, "-c", str(config), "-p", str(folder), "-e", str(self.error_log)])
        until(lambda: self._process.poll() is not None or answers(port), "nginx to answer")
        assert self._process.poll() is None, self.error_log.read_text()

    def open(self, source: str = "127.0.0.1", **options):
        return connect(
            self.url,
            ssl=self.tls,
            source_address=(source, 0),
            open_timeout=DEADLINE,
            close_timeout=DEADLINE,
            **options,
        )

    def reload(self) -> None:
        """Reloads nginx and waits until new workers run and the old ones accept no more connections."""
        before = self._worker_starts()
        self._process.send_signal(signal.SIGHUP)
        until(
            lambda: self._worker_starts() > before and "gracefully shutting down" in self.error_log.read_text(),
            "nginx to start new workers",
        )

    def _worker_starts(self) -> int:
        return self.error_log.read_text().count("start worker process ")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)


def make_certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airlay")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ssl.create_default_context(cafile=str(folder / "certificate.pem"))


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def attach(client, token) -> None:
    client.send(json.dumps({"auth": token, "action": "attach", "event": {"type": "issueUpdate", "id": ISSUE}}))
    assert client.recv(DEADLINE) == OK


@pytest.fixture
def behind(tmp_path, monkeypatch):
    """Starts a server with these settings and nginx in front of it."""
    running = []

    def start(**settings):
        monkeypatch.setenv("AIRLAY_WEBSOCKETEVENTS_TRUSTEDPROXIES", "127.0.0.1")
        for key, value in settings.items():
            monkeypatch.setenv(f"AIRLAY_{key}", value)
        server = Server(tmp_path)
        running.append(server.stop)
        nginx = Nginx(tmp_path, server)
        running.append(nginx.stop)
        return server, nginx

    yield start
    for stop in reversed(running):
        stop()


def test_a_browser_connects_through_tls(behind, token):
    server, nginx = behind(WEBSOCKETEVENTS_ORIGINS="https://airlay.example")
    with nginx.open(origin="https://airlay.example") as client:
        attach(client, token)
        server.publish(EVENT)
        assert client.recv(DEADLINE) == EVENT
    # nginx passes a refusal on unchanged.
    with pytest.raises(InvalidStatus) as refused:
        nginx.open(origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403


def test_s07_the_address_is_what_nginx_saw_not_what_the_client_wrote(behind):
    server, nginx = behind(LIMITS_CONNECTIONSPERADDRESS="1")
    with nginx.open("127.0.0.5") as first:
        # A client that claims another address still counts as 127.0.0.5.
        with pytest.raises(InvalidStatus) as refused:
            nginx.open("127.0.0.5", additional_headers={"X-Forwarded-For": "203.0.113.9"})
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]
        # The proxy itself does not count: others may connect.
        with nginx.open("127.0.0.6") as second:
            assert second.ping().wait(DEADLINE) and first.ping().wait(DEADLINE)


def test_a_connection_outlives_a_reload_of_nginx(behind, token):
    server, nginx = behind()
    with nginx.open() as before:
        attach(before, token)
        nginx.reload()
        with nginx.open() as after:
            attach(after, token)
            server.publish(EVENT)
            assert before.recv(DEADLINE) == EVENT
            assert after.recv(DEADLINE) == EVENT


def test_the_close_code_of_a_stopping_server_reaches_the_client(behind, token):
    server, nginx = behind()
    with nginx.open() as client:
        attach(client, token)
        assert server.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(DEADLINE)
        assert closed.value.rcvd.code == 1001


def test_s26_an_idle_connection_outlives_the_proxy_s_limit(behind, token):
    server, nginx = behind()
    # The client sends no pings: only the server's and the answers to them cross the proxy.
    with nginx.open(ping_interval=None) as client:
        attach(client, token)
        with pytest.raises(TimeoutError):
            client.recv(IDLE)
        server.publish(EVENT)
        assert client.recv(DEADLINE) == EVENT


# What a proxy passes on and an upgrade must not have, and the status of the answer.
NO_UPGRADES = {
    "another version": (raw.UPGRADE.replace(b"Version: 13", b"Version: 777"), 426),
    "no version": (raw.UPGRADE.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
    "no key": (raw.UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "another protocol": (raw.UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
    "no protocol": (raw.UPGRADE.replace(b"Upgrade: websocket\r\n", b""), 426),
    "a body": (raw.UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nGET ", 400),
    "a body in chunks": (raw.UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n", 400),
    "another method": (raw.UPGRADE.replace(b"GET", b"POST", 1), 405),
}


@pytest.mark.parametrize("what", NO_UPGRADES)
def test_s04_nothing_is_smuggled_through_a_proxy_behind_a_refused_upgrade(behind, token, what):
    """The proxy tunnels everything after a 101, so there must be none, and what follows the head must be ignored."""
    server, nginx = behind()
    client = through(nginx)
    client.upgrade()
    assert client.ask(raw.attach(token, "issueUpdate", ISSUE)) == 0
    before = raw.descriptors(server.pid)
    head, status = NO_UPGRADES[what]
    attacker = through(nginx)
    attacker.send(head + raw.UPGRADE + raw.attach(token, "issueUpdate", ISSUE))
    answer = attacker.take_until(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    attacker.close()
    until(lambda: raw.descriptors(server.pid) <= before, "the descriptors to be closed")
    # The attacker did not attach: the event has one subscriber.
    producer = raw.Producer(server.events)
    producer.write(EVENT[:-1] + ',"ack":1}')
    assert producer.answer()["subscribers"] == 1
    assert client.next_text() == EVENT
    client.close()


def through(nginx: Nginx) -> raw.Client:
    """A connection to nginx that can send what no client would."""
    connected = socket.create_connection(("127.0.0.1", nginx.port), DEADLINE)
    return raw.Client(nginx.tls.wrap_socket(connected, server_hostname="127.0.0.1"))
