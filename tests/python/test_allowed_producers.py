"""Which local users may write events: the socket's mode, `allowUsers` and `allowGroups`. The tests become other users."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from conftest import DEADLINE, ISSUE, Server, deadline

pytestmark = pytest.mark.root("only root can become other users")

# Ids without an entry in /etc/passwd.
ALICE, BOB = 47_001, 47_002

TAKEN, REFUSED, NO_PERMISSION = 10, 11, 12


@pytest.fixture
def start(monkeypatch):
    """Starts a server with these settings of `[events]`, in a folder that every user may enter."""
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
    """Writes one event and returns what became of it."""
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


def start_as(user: int, group: int, groups: list[int], what) -> int:
    """Runs `what` in a process of this user; returns its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups(groups)
            os.setgid(group)
            os.setuid(user)
            code = what()
        finally:
            # Without the parent's cleanup.
            os._exit(code)
    return child


def result_of(child: int) -> int:
    """What `what` returned in that process."""
    with deadline("the end of another user's process"):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def publish_as(server: Server, user: int, group: int, *groups: int) -> int:
    return result_of(start_as(user, group, list(groups), lambda: publish(server.events)))


def test_s42_the_mode_keeps_other_users_out(start):
    server = start()
    assert publish_as(server, ALICE, ALICE) == NO_PERMISSION
    # The socket's group is root's.
    assert publish_as(server, ALICE, ALICE, 0) == TAKEN
    assert publish(server.events) == TAKEN


def test_s42_without_lists_the_mode_alone_decides(start):
    server = start(socketMode="0666")
    assert publish_as(server, ALICE, ALICE) == TAKEN


def test_s42_only_listed_users_and_the_server_s_own_may_write(start):
    server = start(socketMode="0666", allowUsers=ALICE)
    for _ in range(3):
        assert publish_as(server, ALICE, BOB) == TAKEN
        assert publish_as(server, BOB, ALICE, ALICE) == REFUSED
        assert publish(server.events) == TAKEN
    server.stop()
    refusals = [line for line in server.log if "producer not allowed" in line]
    assert len(refusals) == 3 and all(f"user={BOB} group={ALICE}" in line for line in refusals)


def test_s42_names_are_looked_up_in_etc_passwd(start):
    server = start(socketMode="0666", allowUsers="nobody", allowGroups="daemon")
    nobody, daemon = 65_534, 1
    assert publish_as(server, nobody, BOB) == TAKEN
    assert publish_as(server, BOB, daemon) == TAKEN
    assert publish_as(server, daemon, nobody) == REFUSED


def test_s42_only_listed_groups_may_write(start):
    server = start(socketMode="0666", allowGroups=ALICE)
    assert publish_as(server, BOB, ALICE) == TAKEN
    assert publish_as(server, ALICE, BOB) == REFUSED
    # SO_PEERCRED has the primary group only.
    assert publish_as(server, BOB, BOB, ALICE) == REFUSED


def test_s42_no_connection_is_accepted_before_the_mode_is_set(start):
    """A user without permission keeps trying while servers start and stop."""
    server = start(socketMode="0600")
    server.stop()
    path = server.events
    reader, writer = os.pipe()

    def try_until_the_pipe_ends() -> int:
        os.close(writer)
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

    child = start_as(ALICE, ALICE, [], try_until_the_pipe_ends)
    try:
        for _ in range(10):
            assert start().stop() == 0
    finally:
        os.close(writer)
        os.close(reader)
    assert result_of(child) == NO_PERMISSION
