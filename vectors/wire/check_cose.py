#!/usr/bin/env python3
"""Checks the wire vectors with nothing of Kinglet: keys by HKDF, frames by a CBOR and an AES-CCM library.

Needs `pip install cbor2 cryptography`. Prints one line and exits 0 if every vector holds; fails loudly otherwise.
"""

import hmac
from hashlib import sha256
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HERE = Path(__file__).parent
TEXT = {"case", "id", "kind", "time", "refused"}


def cases(name):
    for block in (HERE / name).read_text().split("\n\n"):
        pairs = [line.split("=", 1) for line in block.splitlines() if line and not line.startswith("#")]
        case = {k.strip(): v.strip() for k, v in pairs}
        if case:
            yield {k: v if k in TEXT else bytes.fromhex(v) for k, v in case.items()}


def b8(data):
    return bytes([len(data)]) + data


def expand(prk, info, length):
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(prk)


def link(secret, direction, suite, run=b""):
    info = [b8(direction) + b8(use) + suite + run for use in (b"key", b"iv")]
    return expand(secret, info[0], 16), expand(secret, info[1], 13)


def check_keys():
    n = 0
    for c in cases("v1_keys.txt"):
        device_id = c["id"].encode()
        prk = hmac.digest(b"kinglet/1", c["device_key"], sha256)
        if "secret" in c:
            assert expand(prk, b8(b"join") + b8(device_id), 32) == c["join_key"], c["case"]
            info = b8(b"generation") + c["generation"] + b8(device_id) + c["device_nonce"] + c["server_nonce"]
            assert expand(prk, info, 32) == c["secret"], c["case"]
            assert link(c["secret"], b"down", c["suite"], c["run"]) == (c["down_key"], c["down_iv"]), c["case"]
        else:
            assert expand(prk, b8(b"static") + b8(device_id), 32) == c["static_secret"], c["case"]
        secret = c.get("secret") or c["static_secret"]
        assert link(secret, b"up", c["suite"]) == (c["up_key"], c["up_iv"]), c["case"]
        n += 1
    return n


def check_access():
    n = 0
    for c in cases("v1_access.txt"):
        prk = hmac.digest(b"kinglet/1", c["device_key"], sha256)
        assert expand(prk, b8(b"access") + b8(c["id"].encode()), 32) == c["access_token"], c["case"]
        n += 1
    return n


def check_frames(name, alg, suite, tag_len):
    n = 0
    for c in cases(name):
        message = cbor2.loads(c["cose"])
        assert message.tag == 16, c["case"]
        protected, unprotected, ciphertext = message.value
        headers = cbor2.loads(protected)
        assert headers[1] == alg and headers[4] == c["id"].encode() and unprotected == {}, c["case"]
        assert headers[-65537] + ciphertext == c["frame"], f"{c['case']}: the frame is in its COSE_Encrypt0"

        down = headers[6][0] == 1
        direction, run = (b"down", headers[-65537][6:18]) if down else (b"up", b"")
        key, iv = link(c["secret"], direction, suite, run)
        nonce = bytes(a ^ b for a, b in zip(iv, headers[6].rjust(13, b"\x00")))
        assert (key, nonce) == (c["key"], c["nonce"]), c["case"]
        aad = cbor2.dumps(["Encrypt0", protected, c["fingerprint"]])
        assert aad == c["aad"], c["case"]

        ccm = AESCCM(key, tag_length=tag_len)
        assert ccm.decrypt(nonce, ciphertext, aad) == c["content"], c["case"]
        try:
            ccm.decrypt(nonce, ciphertext, aad[:-1] + bytes([aad[-1] ^ 1]))
        except InvalidTag:
            n += 1
        else:
            raise AssertionError(f"{c['case']}: opened with a changed AAD")
    return n


def check_joins():
    n = 0
    for c in cases("v1_joins_pass.txt"):
        frame = c.get("request") or c["accept"]
        assert hmac.digest(c["join_key"], frame[:-16], sha256)[:16] == frame[-16:], c["case"]
        n += 1
    return n


def check_updates():
    n = 0
    for c in cases("v1_updates.txt"):
        if c["kind"] != "update" or c.get("refused", "signature") != "signature":
            continue
        said, signature = b8(b"kinglet/1 update") + c["update"][:41], c["update"][41:]
        if "refused" in c:
            try:
                Ed25519PublicKey.from_public_bytes(c["public"]).verify(signature, said)
            except InvalidSignature:
                n += 1
                continue
            raise AssertionError(f"{c['case']}: verified")
        assert Ed25519PrivateKey.from_private_bytes(c["seed"]).sign(said) == signature, c["case"]
        assert c["update"][:41] == b"\x01" + c["serial"] + c["model_len"] + c["identity"], c["case"]
        n += 1
    return n


if __name__ == "__main__":
    frames = check_frames("v1_frames_pass.txt", 30, b"\x00", 16)
    in_lorawan = check_frames("v1_lorawan_pass.txt", 10, b"\x01", 8)
    assert min(frames, in_lorawan) > 0, "no vectors found"
    counts = check_keys() + check_access(), frames + in_lorawan, check_joins(), check_updates()
    assert min(counts) > 0, "no vectors found"
    print("wire vectors hold: {} key schedules, {} frames as COSE_Encrypt0, {} joins, {} updates".format(*counts))
