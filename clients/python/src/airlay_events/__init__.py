"""Publishes events through the Airlay event service, over its events socket.

    producer = Producer()
    producer.publish("issueUpdate", "610217e481f6fc54736209e0", [{"state": "closed"}])

A call takes at most `timeout` seconds, whatever the server does. Threads may share a producer, and it survives fork().
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import select
import socket
import threading
import time
from typing import Any, Callable, Iterable, List, Optional, Sequence, Union

__all__ = ["Event", "EventsError", "Producer", "Refused", "TimedOut", "Unavailable"]

_RETRY_PAUSE = 0.05  # seconds between attempts to connect


@dataclasses.dataclass(frozen=True)
class Event:
    """An event to publish."""

    type: str
    """What happened, such as issueUpdate."""
    id: Optional[str] = None
    """The event's object: 24 hex digits. Optional only for a notification."""
    data: Any = ()
    """Anything that json.dumps() accepts."""
    users: Union[str, Sequence[str], None] = None
    """The users a notification is for: user ids, or "*" for everyone. If not given, the user with the id `id`."""


class EventsError(Exception):
    """An event was not published, or may not have been."""

    unsent: Sequence[Any] = ()
    """What was not written or, with `ack`, not confirmed, for a retry."""


class Unavailable(EventsError):
    """There is no server at the socket, or no permission to write to it."""


class TimedOut(EventsError):
    """The server did not read the event, or did not confirm it, in time."""


class Refused(EventsError):
    """The server rejected the event, with the reason as message; a retry would fail too."""

    def __init__(self, message: str, line: int, results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.line = line
        """The event's line number on its connection, counted from 1."""
        self.results = results
        """For each event of the batch: the number of its subscribers, or a Refused."""


class Producer:
    """A connection to the events socket, opened on first use and reopened after the server was away.

    `timeout`: the seconds a call may take, including connecting and confirmation. If there is no server, the first call
    waits that long for one; further calls fail at once until there is one again.

    `on_refused` is called for each event that was published without `ack` and that the server refused; a refusal is
    noticed during a later call. If not given, refusals are logged as errors by the logger "airlay_events".
    """

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"] = "/run/airlay/events.sock",
        *,
        timeout: float = 1.0,
        on_refused: Optional[Callable[[Refused], None]] = None,
    ) -> None:
        self._path = os.fspath(path)
        self._timeout = timeout
        self._on_refused = on_refused or _log_refused
        self._lock = threading.Lock()
        self._socket: Optional[socket.socket] = None
        self._process = 0
        self._lines = 0  # written on this connection
        self._received = b""
        self._is_down = False
        self._refused: List[Refused] = []  # reported once the lock is free

    def publish(
        self,
        type: str,
        id: Optional[str] = None,
        data: Any = (),
        *,
        users: Union[str, Sequence[str], None] = None,
        ack: bool = False,
    ) -> Optional[int]:
        """Publishes one event; see `Event`. With `ack`, waits until the server has it and returns the number of subscribers.

        Without `ack`, an event that the server had not read when it crashed is lost. With `ack`, an event that it had read
        but not confirmed is sent again and may arrive twice.

        Raises Unavailable, TimedOut or, with `ack`, Refused.
        """
        results = self.publish_batch([Event(type, id, data, users)], ack=ack)
        return results[0] if results else None

    def publish_batch(self, events: Iterable[Event], *, ack: bool = False) -> Optional[List[int]]:
        """Publishes events in order, within one `timeout`. With `ack`, returns the number of subscribers of each.

        Raises as `publish` does, Refused only after all events were sent.
        """
        lines = [_Line(event, _members(event)) for event in events]
        self._send(lines, ack)
        return [line.result for line in lines] if ack else None

    def revoke(self, user: str, type: Optional[str] = None, id: Optional[str] = None, *, ack: bool = False) -> Optional[int]:
        """Revokes a user's subscriptions: all, or those to this type and id. With `ack`, returns how many ended.

        Raises as `publish` does.
        """
        control: dict[str, Any] = {"control": "revoke", "user": user}
        if type is not None:
            control["event"] = {"type": type, "id": id or ""}
        line = _Line(control, control)
        self._send([line], ack)
        return line.result if ack else None

    def close(self) -> None:
        """Reports pending refusals and closes the connection. The next call opens a new one."""
        with self._lock:
            if self._socket is not None and self._process == os.getpid():
                try:
                    self._read({})
                except OSError:
                    pass
            self._disconnect()
        self._report()

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, lines: List[_Line], ack: bool) -> None:
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise _with_unsent(TimedOut("other threads are still publishing"), lines)
        try:
            while any(not line.is_done for line in lines):
                try:
                    self._connect()
                    self._transfer(lines, ack, deadline)
                except (ConnectionError, FileNotFoundError) as error:
                    # The server is gone, or not up yet.
                    self._disconnect()
                    self._wait(error, deadline)
                except OSError as error:
                    self._disconnect()
                    raise Unavailable(f"{self._path} cannot be written to: {error}") from error
        except EventsError as error:
            _with_unsent(error, lines)
            raise
        finally:
            self._lock.release()
            self._report()
        refused = [line.result for line in lines if isinstance(line.result, Refused)]
        if refused:
            raise Refused(str(refused[0]), refused[0].line, [line.result for line in lines])

    def _wait(self, error: OSError, deadline: float) -> None:
        left = deadline - time.monotonic()
        if self._is_down or left <= 0:
            self._is_down = True
            raise Unavailable(f"no server at {self._path}: {error}") from error
        time.sleep(min(left, _RETRY_PAUSE))

    def _connect(self) -> None:
        if self._socket is not None and self._process == os.getpid():
            return
        # After a fork the connection belongs to the parent: lines of both processes would mix.
        self._disconnect()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(self._path)
        except BlockingIOError as error:
            connection.close()
            raise ConnectionRefusedError("too many wait to be accepted") from error
        except BaseException:
            connection.close()
            raise
        self._socket, self._process = connection, os.getpid()
        self._lines, self._received = 0, b""
        self._is_down = False

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _transfer(self, lines: List[_Line], ack: bool, deadline: float) -> None:
        """Writes the lines that are not done and, with `ack`, reads their answers.

        It reads while it writes: a server whose answers are not read stops reading.
        """
        assert self._socket is not None
        unwritten = [line for line in lines if not line.is_done]
        numbered = {self._lines + index: line for index, line in enumerate(unwritten, 1)}
        text = bytearray()
        for number, line in numbered.items():
            text += line.encode(number if ack else None)
            line.end = len(text)
        rest, unanswered = memoryview(text), dict(numbered) if ack else {}
        poll = select.poll()
        while rest or unanswered:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if rest else 0))
            ready = poll.poll(math.ceil(max(deadline - time.monotonic(), 0) * 1000))
            if not ready:
                if rest:
                    # A line may be cut here; nothing may follow it on this connection.
                    self._disconnect()
                raise TimedOut("the server does not read" if rest else "the server does not confirm")
            if ready[0][1] & ~select.POLLOUT:
                self._read(unanswered)
            if ready[0][1] & select.POLLOUT:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    continue
                self._count_written(numbered, len(text) - len(rest), is_done=not ack)

    def _count_written(self, numbered: dict[int, _Line], written: int, is_done: bool) -> None:
        """Marks completely written lines. One that lacks only its line feed counts: at the end of the stream it is a line."""
        while self._lines + 1 in numbered and numbered[self._lines + 1].end - 1 <= written:
            self._lines += 1
            numbered[self._lines].is_done |= is_done

    def _read(self, unanswered: dict[int, _Line]) -> None:
        """Reads answers. One without an entry in `unanswered` belongs to an event without `ack`."""
        assert self._socket is not None
        while True:
            try:
                received = self._socket.recv(65536)
            except BlockingIOError:
                return
            if not received:
                raise ConnectionResetError("the server has closed the connection")
            *answers, self._received = (self._received + received).split(b"\n")
            for answer in answers:
                self._take(json.loads(answer), unanswered)

    def _take(self, answer: dict[str, Any], unanswered: dict[int, _Line]) -> None:
        number: int = answer["line"] if "line" in answer else answer["ack"]
        line = unanswered.pop(number, None)
        refused = None if answer["code"] == 0 else Refused(answer["message"], number)
        if line is not None:
            line.result, line.is_done = refused or answer["subscribers"], True
        elif refused is not None:
            self._refused.append(refused)

    def _report(self) -> None:
        refused, self._refused = self._refused, []
        for each in refused:
            self._on_refused(each)


class _Line:
    """A line to write, and its result."""

    def __init__(self, source: Any, members: dict[str, Any]) -> None:
        self.source = source
        self.result: Any = None
        self.is_done = False
        self.end = 0
        # Encoding first: data that JSON or UTF-8 cannot express raises before anything is sent.
        self._text = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def encode(self, ack: Optional[int]) -> bytes:
        return self._text + b"\n" if ack is None else b'%b,"ack":%d}\n' % (self._text[:-1], ack)


def _members(event: Event) -> dict[str, Any]:
    members: dict[str, Any] = {"type": event.type, "data": event.data}
    if event.id is not None:
        members["id"] = event.id
    if event.users is not None:
        members["users"] = event.users if isinstance(event.users, str) else list(event.users)
    return members


def _with_unsent(error: EventsError, lines: List[_Line]) -> EventsError:
    error.unsent = [line.source for line in lines if not line.is_done]
    return error


def _log_refused(refused: Refused) -> None:
    logging.getLogger("airlay_events").error("event refused: %s (line %d)", refused, refused.line)
