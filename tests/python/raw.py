"""A WebSocket client and a producer on bare sockets, for tests that cut connections, count descriptors or have too many
clients for a thread each. It implements as much of RFC 6455 as they need and shares nothing with the server.

Each wait has an absolute deadline, however many reads it takes, and fails with what was awaited and what came."""

import json
import os
import socket
import struct
import time
from pathlib import Path

from conftest import DEADLINE

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: events.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Gone(Exception):
    """The server ended the connection, or the connection failed."""


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A final frame of a client, masked with zeros."""
    length = len(payload)
    assert length < 1 << 16
    extended = bytes([0x80 | length]) if length < 126 else struct.pack("!BH", 0x80 | 126, length)
    return bytes([0x80 | opcode]) + extended + bytes(4) + payload


def text(message: str) -> bytes:
    return frame(TEXT, message.encode())


def attach(token: str, kind: str, id: str) -> bytes:
    event = {"type": kind, "id": id}
    return text(json.dumps({"auth": token, "action": "attach", "event": event}))


class Wait:
    """One wait: what is awaited, and until when."""

    def __init__(self, awaited: str) -> None:
        self.awaited = awaited
        self.end = time.monotonic() + DEADLINE
        self.pings = 0


class Stream:
    """A connected socket, read through a buffer."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(DEADLINE)
        self.socket = connected
        self._buffer = b""

    def send(self, data: bytes) -> None:
        # The timeout of sendall() is that of the whole call.
        self.socket.settimeout(DEADLINE)
        try:
            self.socket.sendall(data)
        except ConnectionError as error:
            raise Gone(str(error)) from error

    def _fill(self, wait: Wait) -> None:
        left = wait.end - time.monotonic()
        try:
            self.socket.settimeout(max(left, 0.001))
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            came = f"{wait.pings} pings and the bytes {self._buffer[:200]}"
            raise AssertionError(f"awaited {wait.awaited} for {DEADLINE} s; there came {came}") from None
        except ConnectionError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("the server ended the connection")
        self._buffer += data

    def take(self, count: int, wait: Wait | None = None) -> bytes:
        wait = wait or Wait(f"{count} bytes")
        while len(self._buffer) < count:
            self._fill(wait)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def take_until(self, end: bytes) -> bytes:
        wait = Wait(f"bytes that end with {end}")
        while end not in self._buffer:
            self._fill(wait)
        return self.take(self._buffer.index(end) + len(end))

    def take_all(self) -> bytes:
        """Everything up to the end of the connection."""
        wait = Wait("the end of the connection")
        try:
            while True:
                self._fill(wait)
        except Gone:
            return self.take(len(self._buffer))

    def close(self) -> None:
        self.socket.close()

    def abort(self) -> None:
        """Ends the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Client(Stream):
    """A WebSocket client; `to` is an address or a connected socket."""

    def __init__(self, to: tuple | socket.socket) -> None:
        super().__init__(socket.create_connection(to, DEADLINE) if isinstance(to, tuple) else to)

    def upgrade(self) -> None:
        self.send(UPGRADE)
        head = self.take_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def next_frame(self, wait: Wait | None = None) -> tuple:
        """The opcode and payload of the next frame."""
        wait = wait or Wait("a frame")
        first, length = self.take(2, wait)
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2, wait))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8, wait))
        assert first & 0xF0 == 0x80 and length < 1 << 24, "a final frame, not masked"
        return first & 0x0F, self.take(length, wait)

    def next_text(self) -> str:
        """The next message. Pings before it are answered and counted."""
        wait = Wait("a message")
        while True:
            opcode, payload = self.next_frame(wait)
            if opcode == TEXT:
                return payload.decode()
            if opcode == CLOSE:
                raise Gone(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if opcode == PING:
                wait.pings += 1
                self.send(frame(PONG, payload))

    def ask(self, request: bytes) -> int:
        """Sends a request; returns the code of its reply, which must come next."""
        self.send(request)
        return json.loads(self.next_text())["code"]


class Producer(Stream):
    """A producer; `path` is the events socket."""

    def __init__(self, path) -> None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(DEADLINE)
        connected.connect(str(path))
        super().__init__(connected)

    def write(self, *lines: str) -> None:
        self.send("".join(line + "\n" for line in lines).encode())

    def answer(self) -> dict:
        return json.loads(self.take_until(b"\n"))


def descriptors(pid: int) -> int:
    """The number of open descriptors of the process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_seconds(pid: int) -> float:
    """The processor time of the process (proc(5): schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
