"""Sockets held open by a service manager (socket activation), and the units for systemd."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEADLINE, ISSUE, Server, deadline
from websockets.sync.client import connect

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
OK = '{"status":200,"message":"Ok","code":0}'
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: events.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

# What a service manager does before it runs a program: descriptors from 3 on, and the variables that name them.
PASS = """
import os, sys
names, *descriptors = sys.argv[1].split(",")
for number, descriptor in enumerate(descriptors):
    os.dup2(int(descriptor), 100 + number)
for number in range(len(descriptors)):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.environ.update(LISTEN_FDS=str(len(descriptors)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execv(sys.argv[2], sys.argv[2:])
"""


def passing(names: str, *sockets) -> dict:
    """The arguments that make a server inherit these sockets by these names."""
    descriptors = [passed.fileno() for passed in sockets]
    prefix = (sys.executable, "-c", PASS, ",".join([names, *map(str, descriptors)]))
    return {"prefix": prefix, "pass_fds": descriptors}


@pytest.fixture
def listeners(tmp_path):
    """A listener for clients, and one for producers at another path than the configuration's."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as clients:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as producers:
            producers.bind(str(tmp_path / "inherited.sock"))
            os.chmod(tmp_path / "inherited.sock", 0o604)
            producers.listen(512)
            yield clients, producers


def producer(path: Path):
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(DEADLINE)
    stream.connect(str(path))
    return stream


def attach(client, token):
    client.send(f'{{"auth":"{token}","action":"attach","event":{{"type":"issueUpdate","id":"{ISSUE}"}}}}')
    assert client.recv(DEADLINE) == OK


def test_inherited_sockets_are_used_and_left_unchanged(start, listeners, token):
    clients, producers = listeners
    path = Path(producers.getsockname())
    server = start(**passing("websocket:events", clients, producers))
    log = "".join(server.log)
    assert server.url == "ws://127.0.0.1:{}/ws".format(clients.getsockname()[1])
    assert f"socket={path}" in log
    assert "socket websocket replaces [webSocketEvents] address and port" in log
    assert "socket events replaces [events] socket and socketMode" in log
    assert f"configured={server.events}" in log, "the log says that publish uses another path"
    assert not server.events.exists()
    with connect(server.url, open_timeout=DEADLINE) as client:
        attach(client, token)
        message = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[1]}}'
        with producer(path) as stream:
            stream.sendall(message.encode() + b"\n")
        assert client.recv(DEADLINE) == message
    assert server.stop() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o604, "the mode of an inherited socket was changed"
    producer(path).close()


def test_one_socket_may_be_inherited_and_the_other_bound(start, listeners):
    clients, producers = listeners
    for names, passed in [("websocket", clients), ("events", producers)]:
        server = start(**passing(names, passed))
        with connect(server.url, open_timeout=DEADLINE):
            pass
        producer(server.events if passed is clients else producers.getsockname()).close()
        assert server.stop() == 0


def test_no_connection_is_refused_over_restarts(start, listeners, token):
    """The next server serves clients and producers that connected while none was running, and what they wrote."""
    clients, producers = listeners
    inherited = passing("websocket:events", clients, producers)
    path = producers.getsockname()
    for number in range(3):
        server = start(**inherited)
        with connect(server.url, open_timeout=DEADLINE) as client:
            attach(client, token)
            assert server.stop() == 0
        waiting = [socket.create_connection(clients.getsockname(), DEADLINE) for _ in range(200)]
        writing = [producer(path) for _ in range(200)]
        for stream in waiting:
            stream.sendall(UPGRADE)
        for stream in writing:
            line = f'{{"type":"issueUpdate","id":"{ISSUE}","ack":{number}}}\n'
            stream.sendall(line.encode())
        server = start(**inherited)
        for stream in waiting:
            assert stream.recv(4096).startswith(b"HTTP/1.1 101 ")
            stream.close()
        for stream in writing:
            answer = f'{{"ack":{number},"status":200,"message":"Ok","code":0,"subscribers":0}}\n'
            assert stream.makefile().readline() == answer
            stream.close()
        assert server.stop() == 0


def test_a_killed_server_leaves_the_sockets_to_the_next(start, listeners):
    clients, producers = listeners
    inherited = passing("websocket:events", clients, producers)
    server = start(**inherited)
    server.kill()
    with socket.create_connection(clients.getsockname(), DEADLINE) as client:
        client.sendall(UPGRADE)
        server = start(**inherited)
        assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
        assert server.stop() == 0


def failing(tmp_path: Path, names: str, *sockets) -> str:
    """The error of a server that cannot use the sockets it inherits."""
    Server.write_config(tmp_path)
    options = passing(names, *sockets)
    command = [*options.pop("prefix"), os.environ["AIRLAY_CLI"], "web_socket", "server"]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, **options)
    assert done.returncode == 1, done
    return done.stderr


def test_an_unusable_socket_is_an_error_with_its_reason(tmp_path, listeners):
    clients, producers = listeners
    assert 'named "airlay.socket"; FileDescriptorName=' in failing(tmp_path, "airlay.socket", clients)
    assert 'named ""' in failing(tmp_path, "websocket", clients, producers)
    assert "two are named websocket" in failing(tmp_path, "websocket:websocket", clients, clients)
    assert "websocket is none of the right kind" in failing(tmp_path, "websocket", producers)
    assert "events is none of the right kind" in failing(tmp_path, "events", clients)
    with socket.socket() as silent, socket.socket(type=socket.SOCK_DGRAM) as datagrams, open(os.devnull) as file:
        assert "does not listen" in failing(tmp_path, "websocket", silent)
        assert "websocket is none of the right kind" in failing(tmp_path, "websocket", datagrams)
        assert "events is none of the right kind" in failing(tmp_path, "events", file)
    assert not (tmp_path / "events.sock").exists(), "half started"


def test_sockets_passed_to_another_process_are_not_taken(start):
    server = start(env={**os.environ, "LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"})
    with connect(server.url, open_timeout=DEADLINE):
        pass
    assert server.stop() == 0


def test_systemd_passes_the_sockets_as_the_server_expects_them(tmp_path):
    """systemd's own tool for socket activation; it runs the server at the first connection."""
    # It does not accept port 0, so the address is one that no other process uses.
    address = ("127.{}.{}.{}".format(*os.getpid().to_bytes(3, "big")), 8081)
    path = tmp_path / "inherited.sock"
    config = Server.write_config(tmp_path)
    listen = [f"--listen={address[0]}:{address[1]}", f"--listen={path}", "--fdname=websocket:events"]
    command = ["systemd-socket-activate", *listen, os.environ["AIRLAY_CLI"], "web_socket", "server"]
    with subprocess.Popen([*command, "--config", config], stderr=subprocess.PIPE, text=True) as process:
        try:
            log = iter(process.stderr.readline, "")
            with deadline("systemd-socket-activate to listen"):
                lines = [next(log), next(log)]
            listening = [line for line in lines if line.startswith("Listening on")]
            assert len(listening) == 2
            with socket.create_connection(address, DEADLINE) as client, producer(path) as stream:
                client.sendall(UPGRADE)
                assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
                stream.sendall(b'{"type":"notification","users":[],"ack":1}\n')
                assert '"code":0' in stream.makefile().readline()
            with deadline("a line that says ready"):
                ready = next(line for line in log if "msg=ready" in line)
            assert f"address={address[0]}:{address[1]}" in ready and f"socket={path}" in ready
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def units(tmp_path):
    """The units, with the binary under test instead of the installed one."""
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path)
    service = tmp_path / "airlay.service"
    text = service.read_text()
    assert text.count("/usr/bin/airlay-cli ") == 1
    service.write_text(text.replace("/usr/bin/airlay-cli ", os.environ["AIRLAY_CLI"] + " "))
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(units):
    files = sorted(str(unit) for unit in units.iterdir())
    assert len(files) == 3
    command = ["systemd-analyze", "verify", "--man=no", *files]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (0, "")


def test_systemd_rates_the_exposure_of_the_service_at_most_2_0(units):
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager"]
    command.append(str(units / "airlay.service"))
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout
