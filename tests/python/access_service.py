#!/usr/bin/env python3
"""An access service: answers the server's questions who may see what, from a JSON file.

An example to start from, without any dependency. The file is that of `[access] mode = file`:

    {"users": {"5dad615eae019570fb4647ed": {"datasets": ["610217e481f6fc54736209e1"]}}}

    python3 access_service.py --socket /run/airlay/access.sock --file access.json

Then, in config.ini:

    [access]
    mode = socket
    socket = /run/airlay/access.sock

A question is one line of JSON, and so is its answer; answers may come in any order, so many questions are answered
at once. Whatever goes wrong here lets nobody in: the server answers its client with code 8.

The options under "faults" are for tests: each makes the service misbehave in one way, for every N-th question. What
the server makes of it is in test_access_service.py.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

OK, USER_NOT_EXISTS, NO_ACCESS = 0, 3, 4

# The types whose id is that of a dataset, as `[access] datasetEvents` has them.
DATASET_EVENTS = {"datasetUpdate", "uploadFile", "downloadFile"}

# An answer that is to be written with others does not wait longer for them.
KEPT_BACK_SECONDS = 0.05


def decide(users: dict, user: str, event: dict) -> int:
    """May this user attach to this event?"""
    if user not in users:
        return USER_NOT_EXISTS
    datasets = users[user]["datasets"]
    if event["type"] in DATASET_EVENTS and datasets != "*" and event["id"] not in datasets:
        return NO_ACCESS
    return OK


class Consultation:
    """One connection of a server."""

    def __init__(self, users: dict, options: argparse.Namespace, writer: asyncio.StreamWriter) -> None:
        self.users = users
        self.options = options
        self.writer = writer
        self.count = 0
        # Answers that are kept back to be written in another order.
        self.kept: list[bytes] = []
        self.tasks: set[asyncio.Task] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Answers until the server ends the connection. A question is a task, so that a slow one holds up none."""
        try:
            async for line in reader:
                self.count += 1
                task = asyncio.create_task(self.answer(line, self.count))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except ConnectionError:
            pass
        finally:
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    async def answer(self, line: bytes, number: int) -> None:
        question = json.loads(line)
        code = decide(self.users, question["user"], question["event"])
        answer = json.dumps({"ref": question["ref"], "code": code}).encode() + b"\n"
        await self.misbehave(answer, question["ref"], number)

    async def misbehave(self, answer: bytes, ref: int, number: int) -> None:
        """Writes the answer; before it or in its place, what the options say."""
        options = self.options

        def is_due(every: int | None) -> bool:
            return every is not None and number % every == 0

        if options.delay_ms:
            await asyncio.sleep(options.delay_ms / 1000)
        if is_due(options.silent_every):
            return
        if is_due(options.cut_every):
            self.writer.write(answer[: len(answer) // 2])
            self.writer.close()
            return
        if is_due(options.garbage_every):
            self.writer.write(b'garbage\n\x00\xff\n[]\n{"ref":"1","code":0}\n{"code":0}\n' + b"x" * (2 << 20) + b"\n")
        if is_due(options.unasked_every):
            # To a question that has not been asked yet, and to one that never will be.
            self.writer.write(b'{"ref":%d,"code":0}\n{"ref":0,"code":0}\n' % (ref + 1000))
        if is_due(options.wrong_every):
            answer = b'{"ref":%d,"code":"0"}\n' % ref
        self.kept.append(answer)
        if len(self.kept) < options.reverse:
            # The server may wait for an answer before it asks more.
            await asyncio.sleep(KEPT_BACK_SECONDS)
        answers = b"".join(reversed(self.kept))
        self.kept.clear()
        self.writer.write(answers)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()


async def serve(options: argparse.Namespace) -> None:
    users = json.loads(options.file.read_text())["users"]

    async def consult(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Consultation(users, options, writer).run(reader)

    # One that was left behind by a service that is gone.
    options.socket.unlink(missing_ok=True)
    # Whoever can connect could ask who may see what; the server's user has to be let in.
    with umask(0o117):
        server = await asyncio.start_unix_server(consult, options.socket)
    print("ready", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


@contextlib.contextmanager
def umask(mask: int):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def arguments() -> argparse.Namespace:
    description, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--socket", type=Path, required=True, help="the path to listen at")
    parser.add_argument("--file", type=Path, required=True, help="the JSON file of users and their datasets")
    faults = parser.add_argument_group("faults")
    faults.add_argument("--delay-ms", type=int, default=0, metavar="MS", help="each answer takes so long")
    faults.add_argument(
        "--reverse", type=int, default=1, metavar="N", help="answers are written N at a time, the last one first"
    )
    for name, what in [
        ("silent", "gets no answer"),
        ("cut", "gets half an answer, and the connection ends"),
        ("garbage", "gets lines that are no answers before its answer"),
        ("unasked", "gets answers to other questions, which nobody has asked, before its answer"),
        ("wrong", "gets a code of the wrong type"),
    ]:
        faults.add_argument(f"--{name}-every", type=int, metavar="N", help=f"every N-th question {what}")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
