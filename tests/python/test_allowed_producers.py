"""Which local users may write events: the socket's mode, `allowUsers` and `allowGroups`. As root only, since a test
becomes other users here."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from conftest import DEADLINE, ISSUE, Server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

# Numbers that belong to nobody else here; they need not be in /etc/passwd.
ALICE, BOB = 47_001, 47_002

TAKEN, REFUSED, NO_PERMISSION = 10, 11, 12


@pytest.fixture
def start(monkeypatch):
    """Starts a server with these settings of `[events]`, in a folder that every user may look into."""
    folder = Path(tempfile.mkdtemp(prefix="airlay-"))
    folder.chmod(0o755)
    running = []

    def start(**settings: str):
        for key, value in settings.items():
            monkeypatch.setenv(f"AIRLAY_EVENTS_{key.upper()}", str(value))
        server = Server(folder)
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
        print("".join(server.log))
    shutil.rmtree(folder)


def publish(path: Path) -> int:
    """Writes one event and says what became of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as producer:
        producer.settimeout(DEADLINE)
        try:
            producer.connect(str(path))
        except PermissionError:
            return NO_PERMISSION
        try:
            producer.sendall(json.dumps({"type": "issueUpdate", "id": ISSUE, "ack": 1}).encode() + b"\n")
            answer = producer.recv(1000)
        except ConnectionError:
            answer = b""
        return TAKEN if b'"ack":1,"status":200' in answer else REFUSED


def as_user(user: int, group: int, groups: list[int], what) -> int:
    """What `what` returns in a process of this user."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups(groups)
            os.setgid(group)
            os.setuid(user)
            code = what()
        finally:
            # Nothing of the parent's is torn down here.
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def publish_as(server: Server, user: int, group: int, *groups: int) -> int:
    return as_user(user, group, list(groups), lambda: publish(server.events))


def test_s42_the_mode_keeps_other_users_out(start):
    server = start()
    assert publish_as(server, ALICE, ALICE) == NO_PERMISSION
    # The socket's group is root's.
    assert publish_as(server, ALICE, ALICE, 0) == TAKEN
    assert publish(server.events) == TAKEN


def test_s42_without_lists_whoever_the_mode_lets_in_may_write(start):
    server = start(socketMode="0666")
    assert publish_as(server, ALICE, ALICE) == TAKEN


def test_s42_only_users_on_the_list_and_the_server_s_own_may_write(start):
    server = start(socketMode="0666", allowUsers=ALICE)
    for _ in range(3):
        assert publish_as(server, ALICE, BOB) == TAKEN
        assert publish_as(server, BOB, ALICE, ALICE) == REFUSED
        assert publish(server.events) == TAKEN
    server.stop()
    refusals = [line for line in server.log if "producer not allowed" in line]
    assert len(refusals) == 3 and all(f"user={BOB} group={ALICE}" in line for line in refusals)


def test_s42_names_are_those_of_etc_passwd(start):
    server = start(socketMode="0666", allowUsers="nobody", allowGroups="daemon")
    nobody, daemon = 65_534, 1
    assert publish_as(server, nobody, BOB) == TAKEN
    assert publish_as(server, BOB, daemon) == TAKEN
    assert publish_as(server, daemon, nobody) == REFUSED


def test_s42_only_groups_on_the_list_may_write(start):
    server = start(socketMode="0666", allowGroups=ALICE)
    assert publish_as(server, BOB, ALICE) == TAKEN
    assert publish_as(server, ALICE, BOB) == REFUSED
    # The kernel tells the primary group of who connects, and no other.
    assert publish_as(server, BOB, BOB, ALICE) == REFUSED


def test_s42_nobody_gets_in_before_the_mode_is_set(start):
    """A user without the right tries all the time while servers come and go."""
    server = start(socketMode="0600")
    server.stop()
    path = server.events
    reader, writer = os.pipe()

    def try_until_told_to_stop() -> int:
        os.set_blocking(reader, False)
        while True:
            try:
                os.read(reader, 1)
                return NO_PERMISSION
            except BlockingIOError:
                pass
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as producer:
                for name in (path, Path(f"{path}.new")):
                    try:
                        producer.connect(str(name))
                        return TAKEN
                    except (PermissionError, FileNotFoundError, ConnectionRefusedError):
                        pass

    child = os.fork()
    if child == 0:
        os._exit(as_user(ALICE, ALICE, [], try_until_told_to_stop))
    for _ in range(10):
        assert start().stop() == 0
    os.write(writer, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == NO_PERMISSION
