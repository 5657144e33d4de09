"""What stands between a client and the server: a proxy (nginx), and a network that loses every packet."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time

import pytest
from conftest import DEADLINE, ISSUE, until
from raw import PING, PONG, UPGRADE, Client, Gone, Producer, attach, descriptors, frame

EVENT = f'{{"type":"issueUpdate","id":"{ISSUE}","data":[]}}'
# Longer than a loaded machine may keep a ping waiting, shorter than a test may take.
PROXY_SECONDS = 10


def attached(address: tuple, token: str) -> Client:
    client = Client(address)
    client.upgrade()
    assert client.ask(attach(token, "issueUpdate", ISSUE)) == 0
    return client


def answer_pings(client: Client, count: int) -> None:
    """Waits for so many pings in turn, with nothing else between them, and answers each."""
    for _ in range(count):
        opcode, payload = client.next_frame()
        assert opcode == PING
        client.send(frame(PONG, payload))


def publish(server) -> None:
    producer = Producer(server.events)
    producer.write(EVENT)
    producer.close()


@pytest.fixture
def proxy(tmp_path):
    """Starts an nginx before a server as its documentation has it; gives its address."""
    with contextlib.ExitStack() as started:

        def start(server, read_timeout: int = 60) -> tuple:
            # It takes no port 0, so the address of this machine is one that nobody else uses.
            address = ("127.{}.{}.{}".format(*os.getpid().to_bytes(3, "big")), 8080)
            folder = tmp_path / "nginx"
            folder.mkdir()
            temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            config = folder / "nginx.conf"
            config.write_text(
                "daemon off; worker_processes 1; pid nginx.pid; error_log error.log;\n"
                + ("user root;\n" if os.getuid() == 0 else "")
                + "events { }\nhttp {\naccess_log off;\n"
                + "".join(f"{name}_temp_path {name};\n" for name in temporary)
                + f"server {{\nlisten {address[0]}:{address[1]};\nlocation /ws {{\n"
                + f"proxy_pass http://{server.address[0]}:{server.address[1]};\nproxy_http_version 1.1;\n"
                + "proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection upgrade;\n"
                + f"proxy_set_header Host $host;\nproxy_read_timeout {read_timeout}s;\n}}\n}}\n}}\n"
            )
            command = ["nginx", "-p", str(folder), "-e", "error.log", "-c", str(config)]
            process = started.enter_context(subprocess.Popen(command))
            started.callback(process.terminate)
            until(lambda: process.poll() is not None or is_listening(address), "nginx to listen")
            return address

        yield start


def is_listening(address: tuple) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(address, DEADLINE).close()
        return True
    return False


def test_s26_pings_keep_an_idle_connection_through_a_proxy(start, proxy, token):
    server = start(settings={"limits.pingSeconds": 2, "limits.pongSeconds": 1})
    client = attached(proxy(server, PROXY_SECONDS), token)
    answer_pings(client, PROXY_SECONDS // 2 + 2)
    publish(server)
    assert client.next_text() == EVENT
    client.close()
    assert server.stop() == 0


def test_s26_without_pings_the_proxy_would_end_it(start, proxy, token):
    """That the limit of the test above is one."""
    server = start(settings={"limits.pingSeconds": 3600})
    client = attached(proxy(server, 1), token)
    with pytest.raises(Gone):
        client.next_frame()
    assert server.stop() == 0


# What a proxy lets through and an upgrade must not have, and the answer to it.
NO_UPGRADES = {
    "another version": (UPGRADE.replace(b"Version: 13", b"Version: 777"), 426),
    "no version": (UPGRADE.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
    "no key": (UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "another protocol": (UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
    "no protocol": (UPGRADE.replace(b"Upgrade: websocket\r\n", b""), 426),
    "a body": (UPGRADE[:-2] + b"Content-Length: 4\r\n\r\nGET ", 400),
    "a body in chunks": (UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n", 400),
    "another method": (UPGRADE.replace(b"GET", b"POST", 1), 405),
}


@pytest.mark.parametrize("what", NO_UPGRADES)
def test_s04_nothing_is_smuggled_through_a_proxy_behind_an_upgrade_that_is_none(start, proxy, token, what):
    """The proxy tunnels whatever follows a 101; so none is given, and what follows the head is not looked at."""
    server = start()
    address = proxy(server)
    client = attached(address, token)
    before = descriptors(server.pid)
    head, status = NO_UPGRADES[what]
    attacker = Client(address)
    attacker.send(head + UPGRADE + attach(token, "issueUpdate", ISSUE))
    answer = attacker.take_until(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    attacker.close()
    until(lambda: descriptors(server.pid) <= before, "the connections of the attacker to be closed")
    # Nobody but the one who is attached gets an event; the proxy serves on.
    producer = Producer(server.events)
    producer.write(EVENT[:-1] + ',"ack":1}')
    assert producer.answer()["subscribers"] == 1
    assert client.next_text() == EVENT
    client.close()
    attached(address, token).close()
    assert server.stop() == 0


@pytest.mark.parametrize("what", NO_UPGRADES)
def test_s04_a_refused_upgrade_ends_the_connection(start, token, what):
    server = start()
    head, status = NO_UPGRADES[what]
    client = Client(server.address)
    client.send(head + UPGRADE + attach(token, "issueUpdate", ISSUE))
    answer = client.take_all()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    client.close()
    assert server.stop() == 0


@pytest.fixture
def network():
    """A network of two hosts, each a namespace; gives the names of the server's and of the clients' one."""
    if os.getuid() != 0:
        pytest.skip("network namespaces are made by root only")
    names = [f"airlay-{os.getpid()}-{host}" for host in ("server", "clients")]
    with contextlib.ExitStack() as made:
        for name in names:
            ip("netns", "add", name)
            made.callback(ip, "netns", "delete", name)
        server, clients = names
        ip("-n", server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", clients)
        for name, addresses in [(server, [LOST, KEPT]), (clients, ["10.0.0.2"])]:
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
        yield server, clients


# The server's addresses: the one that will no longer be reached, and the other.
LOST, KEPT = "10.0.0.1", "10.0.0.3"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=DEADLINE)


def inside(namespace: str, make):
    """What `make` returns, made in a network namespace: sockets stay in the one they were made in."""
    made = []

    def enter() -> None:
        with open(f"/run/netns/{namespace}") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(file.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        made.append(make())

    # A namespace is a thread's own.
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made.pop()


def test_s25_a_client_whose_packets_are_all_lost_is_given_up(start, network, token):
    """Nothing ends such a connection but the pong that does not come: TCP would try for a quarter of an hour."""
    server_host, clients_host = network
    server = start(
        settings={"webSocketEvents.address": "0.0.0.0", "limits.pingSeconds": 2, "limits.pongSeconds": 1},
        prefix=("ip", "netns", "exec", server_host),
    )
    port = server.address[1]
    lost, kept = (inside(clients_host, lambda: attached((to, port), token)) for to in (LOST, KEPT))
    both = descriptors(server.pid)
    ip("-n", clients_host, "route", "add", "blackhole", f"{LOST}/32")
    begin = time.monotonic()
    while descriptors(server.pid) == both:
        assert time.monotonic() < begin + DEADLINE, "the slot of the lost client is not free"
        answer_pings(kept, 1)
    print(f"given up after {time.monotonic() - begin:.1f} s")
    assert descriptors(server.pid) == both - 1
    producer = Producer(server.events)
    producer.write(EVENT[:-1] + ',"ack":1}')
    assert producer.answer()["subscribers"] == 1
    assert kept.next_text() == EVENT
    lost.close()
    kept.close()
    assert server.stop() == 0
