#!/usr/bin/env python3
"""An access service: answers the server's questions from a JSON file.

An example to start from, without dependencies. The file is that of `[access] mode = file`:

    {"users": {"5dad615eae019570fb4647ed": {"datasets": ["610217e481f6fc54736209e1"]}}}

    python3 access_service.py --socket /run/airlay/access.sock --file access.json

Then, in config.ini:

    [access]
    mode = socket
    socket = /run/airlay/access.sock

A question is one line of JSON, and so is its answer. Answers may come in any order, so questions are answered
concurrently. A failure here admits no one: the server replies to its client with code 8.

The options under "faults" are for tests: each makes the service misbehave in one way at every N-th question.
test_access_service.py shows what the server does then.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

OK, USER_NOT_EXISTS, NO_ACCESS = 0, 3, 4

# The types whose id is a dataset's, as in `[access] datasetEvents`.
DATASET_EVENTS = {"datasetUpdate", "uploadFile", "downloadFile"}

# The longest wait of an answer that is written together with others.
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
        # Answers that wait to be written in another order.
        self.kept: list[bytes] = []
        self.tasks: set[asyncio.Task] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Answers until the server ends the connection. Each question is a task, so that a slow one delays no other."""
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
        """Writes the answer, with the faults of the options."""
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
            # To a question that was not asked yet, and to one that never will be.
            self.writer.write(b'{"ref":%d,"code":0}\n{"ref":0,"code":0}\n' % (ref + 1000))
        if is_due(options.wrong_every):
            answer = b'{"ref":%d,"code":"0"}\n' % ref
        self.kept.append(answer)
        if len(self.kept) < options.reverse:
            # The server may wait for an answer before it sends more questions.
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

    # Left behind by a service that was killed.
    options.socket.unlink(missing_ok=True)
    # Only the server's user may ask, since the answers tell who may see what.
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
    faults.add_argument("--delay-ms", type=int, default=0, metavar="MS", help="the delay of each answer")
    faults.add_argument(
        "--reverse", type=int, default=1, metavar="N", help="answers are written N at a time, the last one first"
    )
    for name, what in [
        ("silent", "gets no answer"),
        ("cut", "gets half an answer, and the connection ends"),
        ("garbage", "gets invalid lines before its answer"),
        ("unasked", "gets answers to questions that were not asked before its answer"),
        ("wrong", "gets a code of the wrong type"),
    ]:
        faults.add_argument(f"--{name}-every", type=int, metavar="N", help=f"every N-th question {what}")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
