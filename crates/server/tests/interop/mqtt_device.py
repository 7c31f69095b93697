#!/usr/bin/env python3
"""A device in Python, from spec/wire.md and spec/mqtt.md alone: joins, sends and checks its sealed acks over MQTT.

Needs `pip install paho-mqtt cbor2 cryptography`. Arguments: PROVISIONING FINGERPRINT HOST PORT 3|5 [CERTIFICATE].
It leaves one more sealed frame in `next.frame` for another client, prints one line and exits 0 if all held.
"""

import hmac
import os
import queue
import ssl
import sys
import time
from hashlib import sha256

import cbor2
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from paho.mqtt.enums import CallbackAPIVersion

N = 40
PATIENCE_S = 20


def b8(data):
    return bytes([len(data)]) + data


def expand(prk, info, length=32):
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(prk)


class Device:
    """Keys, counters, frames."""

    def __init__(self, key, device_id, fingerprint):
        self.id, self.fingerprint, self.counter = device_id, fingerprint, 0
        self.prk = hmac.digest(b"kinglet/1", key, sha256)
        self.join_key = expand(self.prk, b8(b"join") + b8(device_id))
        self.token = expand(self.prk, b8(b"access") + b8(device_id)).hex()

    def join_request(self):
        self.nonce = os.urandom(16)
        request = b"\x50" + b8(self.id) + self.nonce + bytes(4) + self.fingerprint
        return request + hmac.digest(self.join_key, request, sha256)[:16]

    def take_accept(self, accept):
        body, mac = accept[:-16], accept[-16:]
        assert hmac.digest(self.join_key, body, sha256)[:16] == mac, "the accept does not verify"
        assert body[0] == 0x58 and body[6:22] == self.nonce
        self.short_id, server_nonce, self.generation = body[2:6], body[22:38], body[38:42]
        info = b8(b"generation") + self.generation + b8(self.id) + self.nonce + server_nonce
        self.secret = expand(self.prk, info)

    def link(self, direction, run=b""):
        return (
            expand(self.secret, b8(direction) + b8(b"key") + b"\0" + run, 16),
            expand(self.secret, b8(direction) + b8(b"iv") + b"\0" + run, 13),
        )

    def bound(self, header, direction, counter, external):
        partial = bytes([direction]) + counter.to_bytes(6, "big")
        protected = cbor2.dumps({1: 30, 4: self.id, 6: partial, -65537: header})
        return partial, cbor2.dumps(["Encrypt0", protected, external])

    def seal(self, first, content, external):
        header = bytes([first, (self.generation[3] & 15) << 4]) + self.short_id + self.counter.to_bytes(4, "big")
        partial, aad = self.bound(header, 0, self.counter, external)
        key, iv = self.link(b"up")
        self.counter += 1
        nonce = bytes(a ^ b for a, b in zip(iv, bytes(6) + partial))
        return header + AESCCM(key, tag_length=16).encrypt(nonce, content, aad)

    def status(self, now_ms):
        content = bytes([0b1001, 0, 1, 0, 1]) + (5000).to_bytes(6, "big") + bytes(4) + self.fingerprint
        return self.seal(0x48, content + now_ms.to_bytes(6, "big"), b"")

    def window(self, t_ms, code):
        return self.seal(0x40, bytes([0x12]) + t_ms.to_bytes(6, "big") + code, self.fingerprint)

    def open_ack(self, frame):
        header, sealed = frame[:22], frame[22:]
        assert header[0] == 0x68, "no ack"
        counter = int.from_bytes(header[18:22], "big")
        partial, aad = self.bound(header, 1, counter, b"")
        key, iv = self.link(b"down", header[6:18])
        nonce = bytes(a ^ b for a, b in zip(iv, bytes(6) + partial))
        ack = AESCCM(key, tag_length=16).decrypt(nonce, sealed, aad)
        base, run = int.from_bytes(ack[7:13], "big"), int.from_bytes(ack[13:15], "big")
        bitmap = int.from_bytes(ack[15:19], "big")
        return set(range(base, base + run)) | {base + run + i for i in range(32) if bitmap >> i & 1}


def connect(device, password, host, port, version, certificate):
    protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=protocol)
    client.username_pw_set(device.id.decode(), password)
    if certificate:
        client.tls_set(ca_certs=certificate, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    said = queue.Queue()
    client.on_connect = lambda _c, _u, _f, reason, _p: said.put(("connected", reason))
    client.on_subscribe = lambda _c, _u, _m, reasons, _p: said.put(("subscribed", reasons))
    client.on_message = lambda _c, _u, message: said.put((message.topic, message.payload))
    client.on_publish = lambda _c, _u, mid, reason, _p: said.put(("acked", reason))
    client.on_disconnect = lambda _c, _u, _f, reason, _p: said.put(("parted", reason))
    client.connect(host, port, keepalive=30)
    client.loop_start()
    return client, said


def wait(said, kind):
    end = time.monotonic() + PATIENCE_S
    while True:
        what, value = said.get(timeout=max(0.1, end - time.monotonic()))
        if what == kind:
            return value
        if what == "parted" and kind != "parted":
            raise AssertionError(f"parted ({value}) while waiting for {kind}")


def main():
    provisioning, fingerprint, host, port, version = sys.argv[1:6]
    certificate = sys.argv[6] if len(sys.argv) > 6 else None
    port, version = int(port), int(version)
    head, key = open(provisioning).read().strip().removeprefix("kinglet:").split("#")
    device_id = head.split("?")[0].encode()
    device = Device(bytes.fromhex(key), device_id, bytes.fromhex(fingerprint))
    topic = lambda last: f"kinglet/{device_id.decode()}/{last}"

    client, said = connect(device, "0" * 64, host, port, version, certificate)
    reason = wait(said, "connected")
    assert reason.is_failure, f"a wrong password was let in: {reason}"
    client.loop_stop()

    client, said = connect(device, device.token, host, port, version, certificate)
    assert not wait(said, "connected").is_failure
    client.subscribe("#")
    assert all(reason.is_failure for reason in wait(said, "subscribed")), "`#` was granted"
    client.subscribe([(topic("down"), 0), (topic("refused"), 0)])
    assert not any(reason.is_failure for reason in wait(said, "subscribed"))

    client.publish(topic("up"), device.join_request(), qos=1)
    device.take_accept(wait(said, topic("down")))
    now_ms = int(time.time() * 1000)
    client.publish(topic("up"), device.status(now_ms), qos=1)
    assert 0 in device.open_ack(wait(said, topic("down")))

    # Many at once, then one of them again.
    frames = [device.window(now_ms - 60_000 * (N - i), b"code %d" % i) for i in range(N)]
    for frame in frames + frames[:1]:
        client.publish(topic("up"), frame, qos=1)
    wanted, acked, n_pubacks = set(range(1, N + 1)), set(), 0
    end = time.monotonic() + PATIENCE_S
    while not (wanted <= acked and n_pubacks >= N + 1):
        what, value = said.get(timeout=max(0.1, end - time.monotonic()))
        assert what != topic("refused") and what != "parted", (what, value)
        if what == topic("down"):
            acked |= device.open_ack(value)
        elif what == "acked":
            assert not value.is_failure, value
            n_pubacks += 1

    client.publish(topic("up"), bytes([frames[0][0] ^ 0x80]) + frames[0][1:], qos=1)
    assert wait(said, topic("refused")) == b"malformed"
    client.publish("kinglet/elsewhere/up", frames[0], qos=1)
    wait(said, "parted")
    client.loop_stop()
    with open("next.frame", "wb") as file:
        file.write(device.window(now_ms, b"another client"))
    print(f"MQTT {version}: joined, {N} windows acked under seal, a replay too, strangers and other topics refused")


main()
