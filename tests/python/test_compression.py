"""The windows of permessage-deflate (RFC 7692), inflated by zlib itself."""

import random
import zlib

import pytest
from conftest import ISSUE
from raw import PING, PONG, TEXT, UPGRADE, Client, Producer, attach, frame

FLUSH_END = b"\x00\x00\xff\xff"


def message() -> bytes:
    """An event with repetitions at distances just within each window of 2^9 to 2^15 bytes, beyond the next smaller one."""
    noise = random.Random(1)
    # zlib refers to no byte further back than its window less 262 bytes.
    texts = ["".join(noise.choices("abcdefghijklmnop", k=(1 << bits) - 262)) * 2 for bits in range(9, 16)]
    return f'{{"type":"issueUpdate","id":"{ISSUE}","data":"{"".join(texts)}"}}'.encode()


def inflate(payload: bytes, bits: int) -> bytes:
    """Inflates with a window of 2^bits bytes. Byte by byte, since zlib takes everything that it writes in one call for part
    of the window."""
    inflater = zlib.decompressobj(-bits)
    inflated = bytearray()
    for byte in payload + FLUSH_END:
        rest = bytes([byte])
        while rest or (part and not inflater.eof):
            part = inflater.decompress(rest, 1)
            inflated += part
            rest = inflater.unconsumed_tail
    return bytes(inflated)


def connect(server, bits: int | None) -> tuple:
    """A client that offers this window, and the answer's header of extensions."""
    client = Client(server.address)
    window = f"; server_max_window_bits={bits}" if bits else ""
    offer = f"Sec-WebSocket-Extensions: permessage-deflate{window}\r\n\r\n".encode()
    client.send(UPGRADE.removesuffix(b"\r\n") + offer)
    head = client.take_until(b"\r\n\r\n").decode().splitlines()
    return client, [line for line in head if line.startswith("Sec-WebSocket-Extensions: ")]


def next_payload(client: Client) -> bytes:
    """The payload of the next message, which must be one compressed frame (RFC 7692 §6)."""
    first, length = client.take(2)
    assert first == 0xC0 | TEXT and length in (126, 127), "a long compressed text"
    return client.take(int.from_bytes(client.take(2 if length == 126 else 8), "big"))


@pytest.fixture
def compressing(start):
    return start(settings={"webSocketEvents.compression": "on", "limits.pingSeconds": 3600})


def test_zlib_inflates_with_every_window_that_was_negotiated(compressing, token):
    event = message()
    producer = Producer(compressing.events)
    for bits in [None, *range(9, 16)]:
        client, extensions = connect(compressing, bits)
        assert len(extensions) == 1 and (bits is None or f"server_max_window_bits={bits}" in extensions[0])
        client.send(attach(token, "issueUpdate", ISSUE))
        assert b'"code":0' in client.take(client.take(2)[1])
        producer.write(event.decode())
        payload = next_payload(client)
        assert inflate(payload, bits or 15) == event, f"{bits} bits"
        # The test would notice a larger window than the one that was negotiated.
        for smaller in range(9, bits or 15):
            with pytest.raises(zlib.error, match="invalid distance too far back"):
                inflate(payload, smaller)
        client.close()


def test_a_window_of_8_bits_is_not_negotiated(compressing, token):
    client, extensions = connect(compressing, 8)
    assert extensions == []
    assert client.ask(attach(token, "issueUpdate", ISSUE)) == 0
    event = message().decode()
    Producer(compressing.events).write(event)
    assert client.next_text() == event
    client.close()


@pytest.mark.parametrize("bits", range(9, 16))
def test_references_to_another_client_behind_a_final_block_are_refused(compressing, token, bits):
    """What a client compresses with another client's message as its dictionary, behind an empty final block."""
    request = attach(token, "issueUpdate", ISSUE)[8:]
    secret = request[-200:]
    for strategy in [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED]:
        victim, _ = connect(compressing, bits)
        compressor = zlib.compressobj(9, zlib.DEFLATED, -bits, 9, strategy)
        victim.send(compressed(compressor.compress(request) + compressor.flush(zlib.Z_SYNC_FLUSH)))
        assert b'"code":0' in victim.take(victim.take(2)[1])
        attacker, _ = connect(compressing, bits)
        compressor = zlib.compressobj(9, zlib.DEFLATED, -bits, 9, strategy, secret)
        referring = compressor.compress(secret) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert len(referring) < 50, "it refers to the other client's message"
        attacker.send(compressed(b"\x03\x00" + referring))
        first, length = attacker.take(2)
        assert first == 0x88 and attacker.take(length)[:2] == (1007).to_bytes(2, "big")
        attacker.close()
        # The connection of the other client is unharmed.
        victim.send(frame(PING))
        assert victim.next_frame() == (PONG, b"")
        victim.close()


def compressed(payload: bytes) -> bytes:
    """A compressed text message (RFC 7692 §7.2.1)."""
    plain = frame(TEXT, payload.removesuffix(FLUSH_END))
    return bytes([plain[0] | 0x40]) + plain[1:]
