"""The real binary under injected errors of system calls (strace -e inject): each call, each errno that the kernel may
return, at the n-th call. The process survives, at most one connection fails, no other loses an event, and no descriptor
leaks.

A few n for each by default; AIRLAY_FULL=1 takes each of the first 50 calls. Not injected: EAGAIN where the kernel has data
or room, since the kernel never returns it then and waiting for the next edge is right; EBADF, EFAULT, EINVAL and the like,
which only a bug of the server causes; errors of close(2), since strace would leave open what the kernel closes.
"""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import DEADLINE, ISSUE, USER, Server, deadline, until
from raw import CLOSE, Client, Gone, Producer, attach, descriptors, frame, text

FULL = bool(os.environ.get("AIRLAY_FULL"))
TOPICS = [ISSUE, ISSUE[::-1]]
CLIENTS, PRODUCERS, LINES = 38, 12, 6
RELOADS = 25

# Calls while serving clients and producers.
SERVING = {
    "accept4": "ECONNABORTED EINTR EPROTO EPERM EMFILE ENFILE ENOBUFS ENOMEM ETIMEDOUT ENETDOWN EHOSTUNREACH",
    "recvfrom": "EINTR ECONNRESET ETIMEDOUT EHOSTUNREACH ENOMEM EIO",
    "sendto": "EINTR EPIPE ECONNRESET ETIMEDOUT EHOSTUNREACH ENOBUFS ENOMEM",
    "writev": "EINTR EPIPE ECONNRESET ETIMEDOUT EHOSTUNREACH ENOBUFS ENOMEM",
    "write": "EINTR EAGAIN EPIPE EIO ENOSPC",  # the log
    "shutdown": "ENOTCONN",
    "getsockopt": "ENOTCONN ENOBUFS",
    "epoll_wait": "EINTR",
    "epoll_ctl": "ENOMEM ENOSPC",
}
# Calls while reloading files.
RELOADING = {
    "openat": "EMFILE ENFILE ENOENT EACCES EINTR ENOMEM EIO",
    "read": "EINTR EIO EISDIR",
    "statx": "ENOENT EACCES",
    "recvfrom": "EINTR",
    "epoll_wait": "EINTR",
}
# The least number of calls, where it is below 50.
CALLS = {"shutdown": CLIENTS, "getsockopt": PRODUCERS}

# Errors of these, other than EINTR, may cost the connection they occur on.
HURTING = {"recvfrom", "sendto", "writev", "getsockopt", "epoll_ctl"}


def matrix(calls: dict) -> list:
    return [(call, errno) for call, errnos in calls.items() for errno in errnos.split()]


def numbers(call: str) -> list:
    last = CALLS.get(call, 50)
    return list(range(1, last + 1)) if FULL else [1, 9, last]


@contextlib.contextmanager
def injected(pid: int, folder: Path, call: str, errno: str, number: int):
    """Within the block, the number-th `call` of the process fails with `errno`; the call must be made."""
    trace = folder / "trace"
    inject = f"inject={call}:error={errno}:when={number}"
    command = ["strace", "-p", str(pid), "-o", str(trace), "-e", f"trace={call}", "-e", inject]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            with deadline("strace to attach"):
                line = strace.stderr.readline()
            assert line.endswith("attached\n"), line
            yield
        finally:
            strace.terminate()
    assert trace.read_text().count("(INJECTED)") == 1, "the call was not made often enough"


def serve(server: Server, token: str) -> int:
    """Connects clients and producers, delivers events of each producer to each client, and disconnects them all. Returns how
    many connections failed."""
    hurt, clients, acknowledged = 0, [], []
    for _ in range(CLIENTS):
        client = Client(server.address)
        try:
            client.upgrade()
            for topic in TOPICS:
                assert client.ask(attach(token, "issueUpdate", topic)) == 0
            clients.append(client)
        except Gone:
            client.close()
            hurt += 1
    for number in range(PRODUCERS):
        taken = 0
        producer = Producer(server.events)
        try:
            # The topics alternate, so that each client has several frames queued at once.
            producer.write(*(line(number, at) for at in range(LINES)))
            for at in range(LINES):
                answer = producer.answer()
                assert (answer["ack"], answer["code"]) == (at, 0)
                taken += 1
        except Gone:
            hurt += 1
        acknowledged.append(taken)
        producer.close()
    for client in clients:
        try:
            check(received(client), acknowledged)
            client.send(frame(CLOSE))
            client.take_all()
        except Gone:
            hurt += 1
        client.close()
    return hurt


def line(producer: int, at: int) -> str:
    topic = TOPICS[at % len(TOPICS)]
    return json.dumps({"type": "issueUpdate", "id": topic, "data": [producer, at], "ack": at})


def received(client: Client) -> list:
    """The data of all events that were queued for the client before now."""
    client.send(text("{}"))
    events = []
    while "code" not in (message := json.loads(client.next_text())):
        events.append(message["data"])
    assert message["code"] == 1
    return events


def check(events: list, acknowledged: list) -> None:
    """Of each producer all lines have come, in order; of one that was hurt, those that were acknowledged at least."""
    for producer, taken in enumerate(acknowledged):
        got = [at for number, at in events if number == producer]
        assert got == list(range(max(taken, len(got)))), (producer, taken, events)


@pytest.mark.parametrize(("call", "errno"), matrix(SERVING))
def test_s48_an_error_costs_at_most_one_connection(start, tmp_path, token, call, errno):
    limits = {"limits.requestsPerSecond": 0, "limits.connectionsPerUser": 0, "limits.closeSeconds": 1}
    server = start(settings={**limits, "log.level": "debug"})
    most = 1 if call in HURTING and errno != "EINTR" else 0
    before = descriptors(server.pid)
    for number in numbers(call):
        with injected(server.pid, tmp_path, call, errno, number):
            hurt = serve(server, token)
        assert hurt <= most, f"{hurt} were hurt by call {number}"
        until(lambda: descriptors(server.pid) == before, f"the descriptors to be closed after call {number}")
    assert serve(server, token) == 0
    assert server.stop() == 0


@pytest.mark.parametrize(("call", "errno"), matrix(RELOADING))
def test_s48_an_error_while_reloading_changes_nothing_in_force(start, tmp_path, token, call, errno):
    access = tmp_path / "access.json"
    access.write_text(json.dumps({"users": {USER: {"datasets": "*"}}}))
    server = start(settings={"access.mode": "file", "access.file": access})
    client = Client(server.address)
    client.upgrade()
    assert client.ask(attach(token, "datasetUpdate", ISSUE)) == 0
    before = descriptors(server.pid)
    reports = ("access file read again", "keys read again", "access file not taken", "keys not taken")

    def said() -> int:
        return sum(any(report in line for report in reports) for line in list(server.log))

    for number in numbers(call):
        with injected(server.pid, tmp_path, call, errno, number):
            for _ in range(RELOADS):
                # There is a report on each file, whatever the result.
                reported = said()
                os.kill(server.pid, signal.SIGHUP)
                until(lambda: said() >= reported + 2, "a report on both files")
        assert descriptors(server.pid) == before, f"call {number} left a descriptor open"
        producer = Producer(server.events)
        producer.write(json.dumps({"type": "datasetUpdate", "id": ISSUE, "data": number}))
        producer.close()
        assert json.loads(client.next_text())["data"] == number
        assert client.ask(attach(token, "datasetUpdate", TOPICS[1])) == 0
    client.close()
    assert server.stop() == 0


# Calls at the start that may fail for lack of a resource, or because another process was faster.
STARTING = {
    "openat": "EMFILE EACCES",
    "read": "EIO",
    "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOSPC",
    "socket": "EMFILE",
    "socketpair": "EMFILE",
    "setsockopt": "ENOBUFS",
    "bind": "EADDRINUSE",
    "listen": "EADDRINUSE",
    "getsockname": "ENOBUFS",
    "flock": "EAGAIN",
    "chmod": "EPERM",
    "rename": "EACCES",
    "unlink": "EACCES",
    "fcntl": "EMFILE",
    "write": "EPIPE EAGAIN",
}


@pytest.mark.parametrize(("call", "errno"), matrix(STARTING))
def test_s48_an_error_at_the_start_is_harmless_or_explained(tmp_path, call, errno):
    """Except for calls of the dynamic loader, which ends the process itself. Exit code 2 for what the configuration names, 1
    for what the system refuses."""
    config = Server.write_config(tmp_path)
    trace, reached = tmp_path / "trace", 0
    for number in range(1, 100):
        inject = f"inject={call}:error={errno}:when={number}"
        strace = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={call}", "-e", inject]
        code, log = run(strace, config)
        made = trace.read_text()
        if "(INJECTED)" not in made:
            break
        (failed,) = [line for line in made.splitlines() if "(INJECTED)" in line]
        is_ours = call not in ("openat", "read") or str(tmp_path) in failed or "live-2048" in failed
        if not is_ours:
            continue
        reached += 1
        assert code in (0, 1, 2), f"{failed}\n{log}"
        assert code == 0 or log.strip(), f"{failed}: it exited without a message"
        assert "panicked" not in log, f"{failed}\n{log}"
    assert reached > 0


def run(prefix: list, config: Path) -> tuple:
    """Starts the server and, once it serves, stops it. Returns its exit code and log."""
    command = [*prefix, os.environ["AIRLAY_CLI"], "web_socket", "server", "--config", str(config)]
    log = config.with_name("log")
    with log.open("w") as output:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=output) as process:
            # The log does not tell whether it serves: writing it may be what fails.
            until(lambda: process.poll() is not None or serves(config.with_name("events.sock")), "start or end")
            if process.poll() is None:
                (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(child), signal.SIGTERM)
            code = process.wait(DEADLINE)
    return code, log.read_text()


def serves(path: Path) -> bool:
    """Whether a producer is answered."""
    try:
        producer = Producer(path)
        producer.write('{"type":"notification","users":[],"ack":1}')
        producer.answer()
        producer.close()
        return True
    except (Gone, OSError):
        return False
