"""The producer against the real server: killed, stopped, refusing; and against a scripted server where timing matters."""

import json
import logging
import os
import signal
import socket
import threading

import pytest

import airlay_events
from airlay_events import Event, Producer, Refused, TimedOut, Unavailable
from conftest import DEADLINE, ISSUE, USER

OTHER = ISSUE[::-1]


@pytest.fixture
def producer(server):
    # Longer than any pause of a busy machine; tests of a time-out use a shorter one.
    with Producer(server.path, timeout=DEADLINE) as producer:
        yield producer


def impatient(server, **options):
    return Producer(server.path, timeout=0.2, **options)


def test_an_event_reaches_its_subscriber_as_it_was_written(server, producer):
    written = [[{"state": "closed"}], [], None, "текст \u2028 \n", 1.5, True, {"a": {"b": []}}]
    with server.subscribe() as subscriber:
        for data in written:
            assert producer.publish("issueUpdate", ISSUE, data) is None
        assert subscriber.data(len(written)) == written
        producer.publish("issueUpdate", ISSUE)
        assert subscriber.next() == {"type": "issueUpdate", "id": ISSUE, "data": []}


def test_an_ack_says_how_many_subscribers(server, producer):
    assert producer.publish("issueUpdate", ISSUE, ack=True) == 0
    with server.subscribe(), server.subscribe():
        assert producer.publish("issueUpdate", ISSUE, ack=True) == 2


def test_notifications_are_for_users(server, producer):
    with server.subscribe("notification", "") as subscriber:
        assert producer.publish("notification", data=[1], users=[USER], ack=True) == 1
        assert producer.publish("notification", data=[2], users=(ISSUE,), ack=True) == 0
        assert producer.publish("notification", data=[3], users="*", ack=True) == 1
        assert producer.publish("notification", USER, data=[4], ack=True) == 1
        assert subscriber.data(3) == [[1], [3], [4]]


def test_a_revoked_subscription_ends(server, producer):
    with server.subscribe() as subscriber:
        producer.revoke(USER, "issueUpdate", ISSUE)
        assert subscriber.next()["code"] == 4
    with server.subscribe() as subscriber:
        assert producer.revoke(USER, ack=True) == 1
        assert subscriber.next()["code"] == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("ack", [False, True])
def test_publishing_continues_after_a_restart_of_the_server(server, producer, number, ack):
    producer.publish("issueUpdate", ISSUE, ack=ack)
    server.stop(number)
    server.start()
    with server.subscribe() as subscriber:
        producer.publish("issueUpdate", ISSUE, [1], ack=ack)
        producer.publish("issueUpdate", ISSUE, [2], ack=ack)
        assert subscriber.data(2) == [[1], [2]]


def test_a_call_waits_for_a_restarting_server(server, producer, monkeypatch):
    producer.publish("issueUpdate", ISSUE)
    server.stop()
    pause = threading.Event()
    monkeypatch.setattr(airlay_events.time, "sleep", lambda seconds: pause.set())
    published = []
    thread = threading.Thread(target=lambda: published.append(producer.publish("issueUpdate", ISSUE, ack=True)))
    thread.start()
    assert pause.wait(DEADLINE)
    server.start()
    thread.join()
    assert published == [0]


def test_without_a_server_the_first_call_waits_and_further_ones_do_not(server, monkeypatch):
    producer = impatient(server)
    server.stop()
    with pytest.raises(Unavailable, match=f"no server at {server.path}") as raised:
        producer.publish("issueUpdate", ISSUE, [1])
    assert raised.value.unsent == [Event("issueUpdate", ISSUE, [1])]
    monkeypatch.setattr(airlay_events.time, "sleep", lambda seconds: pytest.fail("it waited"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            producer.publish("issueUpdate", ISSUE)
    server.start()
    assert producer.publish("issueUpdate", ISSUE) is None


def test_a_missing_or_forbidden_socket_is_reported(tmp_path):
    path = tmp_path / "events.sock"
    with pytest.raises(Unavailable, match="no server at .*No such file"):
        Producer(path, timeout=0).publish("issueUpdate", ISSUE)
    with pytest.raises(Unavailable, match="cannot be written to: .*Not a directory"):
        Producer(__file__ + "/events.sock").publish("issueUpdate", ISSUE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(Unavailable, match="cannot be written to"):
            Producer(path).publish("issueUpdate", ISSUE)


def test_a_server_that_does_not_read_causes_a_time_out_and_loses_no_event(server):
    events = [Event("issueUpdate", ISSUE, [number, "x" * 1000]) for number in range(5000)]
    with server.subscribe() as subscriber, impatient(server) as producer:
        producer.publish("issueUpdate", ISSUE, "first")
        assert subscriber.next()["data"] == "first"
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(TimedOut, match="does not read") as raised:
            producer.publish_batch(events)
        unsent = raised.value.unsent
        assert 0 < len(unsent) < len(events) and unsent == events[-len(unsent) :]
        server.send_signal(signal.SIGCONT)
        with Producer(server.path, timeout=DEADLINE) as patient:
            # Connections are read in no fixed order: wait until the lines of the first are delivered.
            assert subscriber.data(len(events) - len(unsent)) == [event.data for event in events[: -len(unsent)]]
            patient.publish_batch(unsent)
            assert subscriber.data(len(unsent)) == [event.data for event in unsent]


def test_a_server_that_does_not_confirm_causes_a_time_out(server):
    with impatient(server) as producer, Producer(server.path, timeout=DEADLINE) as patient:
        patient.publish("issueUpdate", ISSUE, ack=True)
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(TimedOut, match="does not confirm") as raised:
            producer.publish("issueUpdate", ISSUE, ack=True)
        assert raised.value.unsent == [Event("issueUpdate", ISSUE)]
        server.send_signal(signal.SIGCONT)
        # The late answer is not mistaken for another one.
        patient.publish("issueUpdate", ISSUE, ack=True)
        producer._timeout = DEADLINE
        with server.subscribe():
            assert producer.publish("issueUpdate", ISSUE, ack=True) == 1


def test_what_the_server_refuses_is_raised_with_an_ack(server, producer):
    with pytest.raises(Refused, match="type") as raised:
        producer.publish("issueUpdated", ISSUE, ack=True)
    assert raised.value.line == 1
    with pytest.raises(Refused, match="lineBytes") as raised:
        producer.publish("issueUpdate", ISSUE, "x" * 2_000_000, ack=True)
    assert raised.value.line == 2
    with pytest.raises(Refused, match="user"):
        producer.revoke("nobody", ack=True)
    assert producer.publish("issueUpdate", ISSUE, ack=True) == 0


def test_what_the_server_refuses_is_reported_later_without_an_ack(server, caplog):
    refused = []
    with Producer(server.path, timeout=DEADLINE, on_refused=refused.append) as producer:
        producer.publish("issueUpdate", ISSUE)
        producer.publish("issueUpdate", "no id")
        producer.publish("issueUpdate", ISSUE, ack=True)
        assert [(each.line, "id" in str(each)) for each in refused] == [(2, True)]
    with caplog.at_level(logging.ERROR, "airlay_events"), Producer(server.path, timeout=DEADLINE) as producer:
        producer.publish("", ISSUE)
        producer.publish("issueUpdate", ISSUE, ack=True)
    assert "event refused: type" in caplog.text


def test_a_callback_may_publish(server):
    def publish(refused):
        producer.publish("issueUpdate", ISSUE, str(refused))

    with server.subscribe() as subscriber, Producer(server.path, timeout=DEADLINE, on_refused=publish) as producer:
        producer.publish("issueUpdate", "no id")
        producer.publish("issueUpdate", ISSUE, ack=True)
        assert subscriber.next()["data"] == []
        assert "id" in subscriber.next()["data"]


def test_a_batch_is_written_in_order_and_confirmed_one_by_one(server, producer):
    events = [Event("issueUpdate", ISSUE, number) for number in range(10_000)]
    with server.subscribe() as subscriber:
        assert producer.publish_batch(events, ack=True) == [1] * len(events)
        assert producer.publish_batch(iter(events)) is None
        assert subscriber.data(2 * len(events)) == 2 * [event.data for event in events]
    assert producer.publish_batch([]) is None
    assert producer.publish_batch([], ack=True) == []


def test_a_batch_with_refused_events_says_which(server, producer):
    events = [Event("issueUpdate", id) for id in [ISSUE, "no id", OTHER, None]]
    with pytest.raises(Refused, match="id") as raised:
        producer.publish_batch(events, ack=True)
    assert [type(result) for result in raised.value.results] == [int, Refused, int, Refused]
    assert raised.value.unsent == ()


@pytest.mark.parametrize("data", [object(), float("nan"), "\ud800"])
def test_data_that_json_cannot_express_raises_and_sends_nothing(server, producer, data):
    with server.subscribe() as subscriber:
        with pytest.raises((TypeError, ValueError)):
            producer.publish_batch([Event("issueUpdate", ISSUE), Event("issueUpdate", ISSUE, data)])
        producer.publish("issueUpdate", ISSUE, "later")
        assert subscriber.next()["data"] == "later"


def test_threads_share_a_producer(server, producer):
    def publish(thread):
        for number in range(100):
            producer.publish("issueUpdate", ISSUE, [thread, number], ack=number % 10 == 0)

    with server.subscribe() as subscriber:
        threads = [threading.Thread(target=publish, args=[thread]) for thread in range(8)]
        for thread in threads:
            thread.start()
        came = subscriber.data(800)
        for thread in threads:
            thread.join()
    for thread in range(8):
        assert [number for each, number in came if each == thread] == list(range(100))


def test_a_child_process_has_a_connection_of_its_own(server, producer):
    with server.subscribe() as subscriber:
        producer.publish("issueUpdate", ISSUE, "parent")
        child = os.fork()
        if child == 0:
            try:
                producer.publish("issueUpdate", ISSUE, "child", ack=True)
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        producer.publish("issueUpdate", ISSUE, "parent")
        assert subscriber.data(3) == ["parent", "child", "parent"]


class Script:
    """A server that follows a script, connection by connection."""

    def __init__(self, path, *steps):
        self.lines = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._run, args=steps)
        self._thread.start()

    def _run(self, *steps):
        for step in steps:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rwb") as stream:
                step(self, stream)

    def take(self, stream):
        self.lines.append(json.loads(stream.readline()))

    def confirm(self, stream):
        self.take(stream)
        stream.write(b'{"ack":%d,"status":200,"message":"Ok","code":0,"subscribers":3}\n' % self.lines[-1]["ack"])
        stream.flush()

    def end(self):
        self._thread.join(DEADLINE)
        self._socket.close()


def test_unconfirmed_events_are_sent_again_and_confirmed_ones_are_not(tmp_path):
    def one_of_two(script, stream):
        script.confirm(stream)
        script.take(stream)

    script = Script(tmp_path / "events.sock", one_of_two, Script.confirm)
    with Producer(tmp_path / "events.sock", timeout=DEADLINE) as producer:
        assert producer.publish_batch([Event("issueUpdate", ISSUE, 1), Event("issueUpdate", ISSUE, 2)], ack=True) == [3, 3]
        script.end()
    assert [line["data"] for line in script.lines] == [1, 2, 2]


def test_a_line_is_never_continued_on_another_connection(tmp_path):
    def cut(script, stream):
        stream.read(1000)

    script = Script(tmp_path / "events.sock", cut, Script.take)
    with Producer(tmp_path / "events.sock", timeout=DEADLINE) as producer:
        # More than a socket buffers, so that the first connection ends inside the line.
        producer.publish("issueUpdate", ISSUE, "x" * 10_000_000)
        script.end()
    assert [len(line["data"]) for line in script.lines] == [10_000_000]
