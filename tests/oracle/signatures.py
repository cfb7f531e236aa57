"""Writes requests as senders, careless proxies and forgers would send them, one JSON object a line.

usage: signatures.py NOW CURRENT SECOND RETIRED
       signatures.py public SECRET...   prints the public key of each secret, as Standard Webhooks writes it

Each line has: case (a row of docs/signatures.md), group (a column of its table), scheme (the last step of the path), body (which of
the bodies), headers ([name, value] as they stand on the wire, in Latin-1), content (the body in base64), chunked (how it is sent),
query. What must come of a request stands in the page and not here. Signs with nothing but Python's own hmac, and with Ed25519 as RFC 8032
describes it, whose private key is the secret's SHA-256.
"""

import base64
import functools
import gzip
import hashlib
import hmac
import json
import sys

# The field of Curve25519, the order of its base point B, and the curve's constant d (RFC 8032, section 5.1).
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
B_Y = 4 * pow(5, -1, P) % P


def x_of(y):
    """The even one of the two x that stand at y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x % 2 == 0 else P - x


def add(one, two):
    """The sum of two points (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z."""
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c, d = 2 * one[3] * two[3] * D % P, 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(factor):
    """A multiple of the base point, as 32 bytes."""
    x = x_of(B_Y)
    total, power = (0, 1, 1, 0), (x, B_Y, 1, x * B_Y % P)
    while factor:
        if factor & 1:
            total = add(total, power)
        power, factor = add(power, power), factor >> 1
    inverse = pow(total[2], -1, P)
    x, y = total[0] * inverse % P, total[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


@functools.cache
def key_pair(secret):
    """The scalar, the prefix of nonces and the public key of a secret."""
    wide = hashlib.sha512(hashlib.sha256(secret.encode()).digest()).digest()
    scalar = int.from_bytes(wide[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, wide[32:], times(scalar)


@functools.cache
def ed25519(secret, message):
    scalar, prefix, public = key_pair(secret)
    number = lambda *parts: int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER
    nonce = number(prefix, message)
    point = times(nonce)
    return point + ((nonce + number(point, public, message) * scalar) % ORDER).to_bytes(32, "little")


def whpk(secret):
    return "whpk_" + base64.b64encode(key_pair(secret)[2]).decode()


if sys.argv[1] == "public":
    print("\n".join(map(whpk, sys.argv[2:])))
    sys.exit()

NOW, CURRENT, SECOND, RETIRED = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

BODIES = [
    b'{"event_id":"evt_1","n":1}',
    b"{}",
    '{"event_id":"evt_\u00e9\u4e16","amount":9223372036854775807}'.encode(),
    b'\r\n {"event_id" : "evt_2" ,\t"text":"a.b:c,d=e"}\r\n\r\n',
    json.dumps({"event_id": "evt_3", "filler": "x" * 40_000}).encode(),
]


def as_hex(code):
    return code.hex()


def as_base64(code):
    return base64.b64encode(code).decode()


def as_base64url(code):
    return base64.urlsafe_b64encode(code).decode().rstrip("=")


class Scheme:
    """One way to sign. `join` makes a header's value of the time as it is written and the codes in it."""

    def __init__(self, name, group, header, prefix="", algorithm="sha256", write=as_hex, time=None, id=None, unit=1,
                 template="{body}"):
        self.name, self.group, self.header, self.prefix = name, group, header, prefix
        self.algorithm, self.write, self.time, self.id = algorithm, write, time, id
        self.unit, self.template = unit, template
        self.signs_time = "{timestamp}" in template

    def message(self, body, time, id):
        head, tail = self.template.split("{body}")
        fill = lambda text: text.replace("{timestamp}", time).replace("{id}", id).encode("latin-1")
        return fill(head) + body + fill(tail)

    def code(self, body, secret=CURRENT, time="", id="", algorithm=None):
        if self.group == "token":
            return secret
        if self.group == "public":
            return self.write(ed25519(secret, self.message(body, time, id)))
        return self.write(hmac.new(secret.encode(), self.message(body, time, id), algorithm or self.algorithm).digest())

    def value(self, codes, time=""):
        if self.group == "stripe":
            return ",".join([f"t={time}"] + [f"v1={code}" for code in codes])
        if self.group in ("standard", "public"):
            return " ".join(self.prefix + code for code in codes)
        return ",".join(self.prefix + code for code in codes)


SCHEMES = [
    Scheme("cycles", "body", "X-Cycles-Signature", "sha256="),
    Scheme("github", "body", "X-Hub-Signature-256", "sha256="),
    Scheme("hmac-sha1", "body", "X-Old-Signature", "sha1=", "sha1"),
    Scheme("hmac-sha512", "body", "X-Long-Signature", "", "sha512", as_base64),
    Scheme("slack", "time", "X-Slack-Signature", "v0=", time="X-Slack-Request-Timestamp", template="v0:{timestamp}:{body}"),
    Scheme("hmac-time", "time", "X-Timed-Signature", "sig ", "sha256", as_base64url, time="X-Timed-At", unit=1000,
           template="{timestamp}.{body}"),
    Scheme("hmac-id", "id", "X-Named-Signature", "v1:", time="X-Named-At", id="X-Named-Id",
           template="{id}/{timestamp}/{body}/end"),
    Scheme("standard_webhooks", "standard", "webhook-signature", "v1,", write=as_base64, time="webhook-timestamp",
           id="webhook-id", template="{id}.{timestamp}.{body}"),
    Scheme("svix", "standard", "svix-signature", "v1,", write=as_base64, time="svix-timestamp", id="svix-id",
           template="{id}.{timestamp}.{body}"),
    Scheme("standard_webhooks-public", "public", "webhook-signature", "v1a,", write=as_base64, time="webhook-timestamp",
           id="webhook-id", template="{id}.{timestamp}.{body}"),
    Scheme("svix-public", "public", "svix-signature", "v1a,", write=as_base64, time="svix-timestamp", id="svix-id",
           template="{id}.{timestamp}.{body}"),
    Scheme("stripe", "stripe", "Stripe-Signature", "v1=", template="{timestamp}.{body}"),
    Scheme("token", "token", "X-Token", "Token "),
]


class Request:
    """What an honest sender sends, to be spoilt in one way."""

    def __init__(self, scheme, body):
        self.scheme, self.body, self.sent = scheme, body, body
        self.at = str(NOW * scheme.unit) if scheme.signs_time else ""
        self.id = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W" if scheme.id else ""
        self.time_lines = self.id_lines = None
        self.lines = None
        self.extra, self.chunked, self.query = [], False, ""
        self.name = scheme.header

    def good(self, **other):
        return self.scheme.code(self.body, **{"time": self.at, "id": self.id, **other})

    def header(self, *codes):
        return self.scheme.value(codes or [self.good()], self.at)

    def headers(self):
        lines = [self.header()] if self.lines is None else self.lines
        out = [[self.name, line] for line in lines]
        if self.scheme.time:
            out += [[self.scheme.time, line] for line in ([self.at] if self.time_lines is None else self.time_lines)]
        if self.scheme.id:
            out += [[self.scheme.id, line] for line in ([self.id] if self.id_lines is None else self.id_lines)]
        return out + self.extra


def zeros(scheme):
    if scheme.group == "token":
        return "0" * 40
    if scheme.group == "public":
        return scheme.write(bytes(64))
    return scheme.write(bytes(hashlib.new(scheme.algorithm).digest_size))


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def lines(name, make):
    """A case that only changes the lines of the signature header."""
    def function(r):
        r.lines = make(r)
    CASES[name] = function


def rewritten(name, change):
    """A case that signs as ever and changes the one line."""
    lines(name, lambda r: [change(r, r.header())])


def signed_at(name, change, **other):
    """A case in which another time is signed and sent."""
    def function(r):
        if not r.scheme.signs_time:
            return False
        r.at = change(r)
        r.lines = [r.header(r.good(**other))]
        return True
    CASES[name] = function


lines("as_signed", lambda r: [r.header()])
lines("no_header", lambda r: [])
lines("empty", lambda r: [""])
lines("only_spaces", lambda r: [" \t "])
lines("twice", lambda r: [r.header()] * 2)
lines("good_then_wrong", lambda r: [r.header(), r.header(zeros(r.scheme))])
lines("wrong_then_good", lambda r: [r.header(zeros(r.scheme)), r.header()])
lines("empty_then_good", lambda r: ["", r.header()])
lines("zeros", lambda r: [r.header(zeros(r.scheme))])
lines("truncated", lambda r: [r.header(r.good()[:-4])])
lines("half", lambda r: [r.header(r.good()[: len(r.good()) // 8 * 4])])
lines("longer", lambda r: [r.header(r.good() + "0000")])
lines("no_code", lambda r: [r.header("") or None])
rewritten("upper_case_prefix", lambda r, line: line.replace(r.scheme.prefix, r.scheme.prefix.upper())
          if r.scheme.prefix else None)
rewritten("no_prefix", lambda r, line: line.replace(r.scheme.prefix, "") if r.scheme.prefix else None)
rewritten("trailing_space", lambda r, line: line + "  ")
rewritten("leading_tab", lambda r, line: "\t " + line)
rewritten("space_inside", lambda r, line: line.replace(r.good(), " " + r.good()) if r.scheme.prefix else None)
rewritten("quoted", lambda r, line: f'"{line}"')
rewritten("not_ascii", lambda r, line: line + "\u00e9")
rewritten("joined_by_comma", lambda r, line: f"{line},{line}")
lines("other_key", lambda r: [r.header(r.good(secret="a secret that nobody here has"))])
lines("empty_key", lambda r: [r.header(r.good(secret=""))])
lines("second_key", lambda r: [r.header(r.good(secret=SECOND))])
lines("retired_key", lambda r: [r.header(r.good(secret=RETIRED))])
lines("good_is_second", lambda r: [r.header(zeros(r.scheme), r.good())])
lines("good_is_first", lambda r: [r.header(r.good(), zeros(r.scheme))])
lines("two_wrong", lambda r: [r.header(zeros(r.scheme), r.good(secret="a secret that nobody here has"))])
lines("nine", lambda r: [r.header(*[r.good()] * 9)])


@case
def three_signatures(r):
    if r.scheme.group != "public":
        return False
    r.lines = [r.header(*[r.good()] * 3)]


@case
def keyed_with_the_public_key(r):
    if r.scheme.group != "public":
        return False
    for key in [whpk(CURRENT).encode(), key_pair(CURRENT)[2]]:
        code = hmac.new(key, r.scheme.message(r.body, r.at, r.id), "sha256").digest()
        r.lines = (r.lines or [""])
        r.lines = [(r.lines[0] + " v1," + as_base64(code)).strip()]


@case
def mirrored(r):
    if r.scheme.group != "public":
        return False
    signature = base64.b64decode(r.good())
    larger = int.from_bytes(signature[32:], "little") + ORDER
    r.lines = [r.header(as_base64(signature[:32] + larger.to_bytes(32, "little")))]


@case
def upper_case_code(r):
    if r.scheme.group != "token" and r.scheme.write is not as_hex:
        return False
    r.lines = [r.header(r.good().upper())]


@case
def upper_case_name(r):
    r.name = r.name.upper()


@case
def lower_case_name(r):
    r.name = r.name.lower()


@case
def underscores_in_name(r):
    r.name = r.name.replace("-", "_")


@case
def other_name(r):
    r.name = "X-Signature"


@case
def in_the_query(r):
    r.query, r.lines = "?signature=" + r.good().replace("+", "%2B"), []


@case
def other_hash(r):
    if r.scheme.group in ("token", "public"):
        return False
    r.lines = [r.header(r.good(algorithm="sha384"))]


@case
def other_version(r):
    if r.scheme.group == "token":
        return False
    r.lines = [r.header().replace(r.scheme.prefix or r.good(), "v9=" + ("" if r.scheme.prefix else r.good()))]


@case
def other_version_too(r):
    beside = {"standard": " v1a,AAAA", "public": " v1,AAAA", "stripe": ",v0=00"}
    if r.scheme.group not in beside:
        return False
    r.lines = [r.header() + beside[r.scheme.group]]


@case
def other_encoding(r):
    if r.scheme.group == "token":
        return False
    message = r.scheme.message(r.body, r.at, r.id)
    code = hmac.new(CURRENT.encode(), message, r.scheme.algorithm).digest()
    if r.scheme.group == "public":
        code = ed25519(CURRENT, message)
    r.lines = [r.header(code.hex() if r.scheme.write is not as_hex else as_base64(code))]


@case
def without_a_key(r):
    if r.scheme.group in ("token", "public"):
        return False
    r.lines = [r.header(r.scheme.write(hashlib.new(r.scheme.algorithm, r.scheme.message(r.body, r.at, r.id)).digest()))]


@case
def key_then_body_hashed(r):
    if r.scheme.group in ("token", "public"):
        return False
    message = CURRENT.encode() + r.scheme.message(r.body, r.at, r.id)
    r.lines = [r.header(r.scheme.write(hashlib.new(r.scheme.algorithm, message).digest()))]


@case
def body_changed(r):
    r.sent = bytes([r.body[0] ^ 1]) + r.body[1:]


@case
def body_cut(r):
    r.sent = r.body[:-1]


@case
def body_longer(r):
    r.sent = r.body + b"\n"


@case
def body_gone(r):
    r.sent = b""


@case
def body_empty(r):
    r.body = r.sent = b""
    r.lines = [r.header()]


@case
def body_chunked(r):
    r.chunked = True


@case
def gzip_signed(r):
    r.body = r.sent = gzip.compress(r.body, mtime=0)
    r.extra = [["Content-Encoding", "gzip"]]
    r.lines = [r.header()]


@case
def gzip_signed_before(r):
    r.sent = gzip.compress(r.body, mtime=0)
    r.extra = [["Content-Encoding", "gzip"]]


@case
def other_headers_too(r):
    names = {s.header for s in SCHEMES if s.header != r.scheme.header}
    r.extra = [[name, "sha256=00"] for name in sorted(names)] + [["X-GitHub-Delivery", "1"], ["X-Cycles-Event-Id", "2"]]


@case
def time_missing(r):
    if not r.scheme.signs_time:
        return False
    r.time_lines = []
    if not r.scheme.time:
        r.lines = [r.header().split(",", 1)[1]]


@case
def time_empty(r):
    if not r.scheme.signs_time:
        return False
    r.lines = [r.scheme.value([r.good()], "")]
    r.time_lines = [""]


@case
def time_twice(r):
    if not r.scheme.signs_time:
        return False
    r.time_lines = [r.at, r.at]
    if not r.scheme.time:
        r.lines = [f"t={r.at},{r.header()}"]


@case
def time_moved(r):
    if not r.scheme.signs_time:
        return False
    later = str(int(r.at) + 10 * r.scheme.unit)
    r.lines, r.time_lines = [r.scheme.value([r.good()], later)], [later]


signed_at("two_hundred_seconds_old", lambda r: str((NOW - 200) * r.scheme.unit))
signed_at("two_hundred_seconds_early", lambda r: str((NOW + 200) * r.scheme.unit))
signed_at("four_hundred_seconds_old", lambda r: str((NOW - 400) * r.scheme.unit))
signed_at("four_hundred_seconds_early", lambda r: str((NOW + 400) * r.scheme.unit))
signed_at("a_day_old", lambda r: str((NOW - 86_400) * r.scheme.unit))
signed_at("old_and_other_key", lambda r: str((NOW - 400) * r.scheme.unit), secret="a secret that nobody here has")
signed_at("time_zero", lambda r: "0")
signed_at("time_of_the_year_5138", lambda r: "9" * (11 if r.scheme.unit == 1 else 14))
signed_at("time_in_a_finer_unit", lambda r: str(NOW * 1000 * r.scheme.unit))
signed_at("time_negative", lambda r: f"-{r.at}")
signed_at("time_with_plus", lambda r: f"+{r.at}")
signed_at("time_with_fraction", lambda r: f"{r.at}.5")
signed_at("time_in_words", lambda r: "now")
signed_at("time_in_hex", lambda r: hex(int(r.at)))
signed_at("time_with_zeros", lambda r: r.at.zfill(16))


def with_id(name, change):
    def function(r):
        return change(r) if r.scheme.id else False
    CASES[name] = function


def signed_id(r, id):
    r.id = id
    r.lines = [r.header()]


with_id("id_missing", lambda r: setattr(r, "id_lines", []))
with_id("id_empty", lambda r: setattr(r, "id_lines", [""]))
with_id("id_twice", lambda r: setattr(r, "id_lines", [r.id] * 2))
with_id("id_changed", lambda r: setattr(r, "id_lines", [r.id + "0"]))
with_id("id_holds_the_separator", lambda r: signed_id(r, "msg.1/2"))
with_id("id_with_spaces", lambda r: signed_id(r, "msg 1 2"))

for name, spoil in CASES.items():
    for scheme in SCHEMES:
        for at, body in enumerate(BODIES):
            request = Request(scheme, body)
            if spoil(request) is False:
                continue
            headers = request.headers()
            if any(value is None for _, value in headers):
                continue
            print(json.dumps({
                "case": name, "group": scheme.group, "scheme": scheme.name, "body": at, "headers": headers,
                "content": base64.b64encode(request.sent).decode(), "chunked": request.chunked, "query": request.query,
            }))
