#!/usr/bin/env python3
"""Writes what the fuzz targets start from to corpus/: good inputs of every kind, which are changed from there.

The keys are those of src/lib.rs and no secret. The messages are encoded by hand, so that nothing has to be installed.
"""

import base64
import hashlib
import hmac
import json
import os
import struct

NOW = 1_800_000_000
SECRET = b"\x5a" * 64
CLAIMS = {"iss": "https://auth.shop.example", "aud": "shop", "sub": "alice", "jti": "t1", "sid": "s1", "azp": "web",
          "type": "access", "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600}
PROXIED = {**CLAIMS, "iss": "https://proxied.shop.example"}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(header, claims):
    text = b64(json.dumps(header).encode()) + b"." + b64(json.dumps(claims).encode())
    return text + b"." + b64(hmac.new(SECRET, text, hashlib.sha256).digest())


def varint(n):
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def field(number, data):
    """A field of a message: text, bytes or a message."""
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def entry(number, key, value):
    """An entry of a map."""
    return field(number, field(1, key) + field(2, value))


def google_value(of):
    if of is None:
        return b"\x08\x00"
    if isinstance(of, bool):
        return bytes([0x20, of])
    if isinstance(of, (int, float)):
        return b"\x11" + struct.pack("<d", of)
    if isinstance(of, str):
        return field(3, of)
    if isinstance(of, list):
        return field(6, b"".join(field(1, google_value(v)) for v in of))
    return field(5, google_struct(of))


def google_struct(of):
    return b"".join(entry(1, k, google_value(v)) for k, v in of.items())


def check_request(path="/orders", method="GET", headers=(), raw=(), policy=None, metadata=None):
    http = field(1, "17") + field(2, method) + field(4, path) + field(5, "shop.example:8443")
    http += b"".join(entry(3, k, v) for k, v in headers)
    if raw:
        http += field(13, b"".join(field(1, field(1, k) + field(3, v)) for k, v in raw))
    attributes = field(4, field(2, http))
    if policy:
        attributes += entry(10, "policy", policy)
    if metadata:
        payload = google_struct({"payload": metadata})
        attributes += field(11, entry(1, "envoy.filters.http.jwt_authn", payload))
    return field(1, attributes)


def write(target, inputs):
    os.makedirs(f"corpus/{target}", exist_ok=True)
    os.makedirs(f"artifacts/{target}", exist_ok=True)
    for number, data in enumerate(inputs):
        with open(f"corpus/{target}/seed-{number}", "wb") as file:
            file.write(data)


HEADER = {"alg": "HS256", "typ": "JWT", "kid": "secret"}
GOOD = token(HEADER, CLAIMS)
REFRESH = token(HEADER, {**CLAIMS, "type": "refresh"})
LISTS = {**CLAIMS, "aud": ["a", "shop"], "roles": {"a": [1, 2.5, None, True]}, "exp": 1.9e9}


def parts(header, claims):
    return json.dumps(header).encode() + b"\n" + json.dumps(claims).encode()


write("token", [
    GOOD,
    token({"alg": "none"}, CLAIMS),
    b"1" + parts(HEADER, CLAIMS),
    b"1" + parts(HEADER, LISTS),
    b"1" + parts({**HEADER, "crit": ["b64"], "b64": False}, CLAIMS),
    b"1" + parts(HEADER, PROXIED),
    b"2" + parts({**HEADER, "alg": "HS512"}, CLAIMS),
    b"3" + parts({"alg": "EdDSA", "typ": "application/at+jwt"}, CLAIMS),
    b"3" + parts({"alg": "RS256"}, CLAIMS),
    b"4\x00\x10\x01" + parts(HEADER, CLAIMS),
    b"4\x01\x20\x04" + parts(HEADER, CLAIMS),
    b"1" + parts(HEADER, CLAIMS)[:-1] + b', "list": [' + b"0," * 5000 + b"0]}",
    b"1" + parts(HEADER, CLAIMS)[:-1] + b', "list": [' + b'{"":0},' * 1650 + b"0]}",
])
BEARER = b"Bearer " + GOOD
write("check_request", [
    b"",
    check_request(),
    check_request(headers=[("authorization", BEARER), ("x-request-id", "r")]),
    check_request(raw=[("Authorization", BEARER)]),
    check_request(headers=[("authorization", BEARER)], raw=[("authorization", BEARER)]),
    check_request(headers=[("cookie", b"a=1; access_token=" + GOOD + b"; b=2")]),
    check_request(path=b"/orders?a=1&access_token=" + GOOD),
    check_request(headers=[("authorization", b"Bearer " + REFRESH)], policy="optional"),
    check_request(policy="optional"),
    check_request(policy="public"),
    check_request(policy="unknown"),
    check_request(path="/public/a?b=c"),
    check_request(path="/public/%2e%2e/orders"),
    check_request(metadata=PROXIED),
    check_request(metadata={**PROXIED, "aud": ["shop"], "x": [None, True, {}]}, headers=[("authorization", b"Bearer "
                  + token(HEADER, PROXIED))]),
])
