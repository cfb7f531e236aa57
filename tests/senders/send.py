"""Sends webhooks that a sender's own library has signed.

usage: send.py LIBRARY URL SECRET COUNT

Prints a line for each request: what it was (event, again, forged, changed, stale), the status, and the answer. Signatures come
from the library alone; nothing here works one out.
"""

import importlib.metadata
import json
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone

FEW = 5
OTHER = {"whsec": "whsec_bm9ib2R5IGhlcmUgaGFzIGV2ZXIgc2VlbiB0aGlz", "text": "nobody-here-has-ever-seen-this"}


def moment(at):
    return datetime.fromtimestamp(at, timezone.utc)


def standardwebhooks(secret, body, id, at):
    from standardwebhooks import Webhook
    signature = Webhook(secret).sign(id, moment(at), body)
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": signature}


def svix(secret, body, id, at):
    from svix.webhooks import Webhook
    signature = Webhook(secret).sign(id, moment(at), body)
    return {"svix-id": id, "svix-timestamp": str(at), "svix-signature": signature}


def stripe(secret, body, id, at):
    from stripe import WebhookSignature
    return {"Stripe-Signature": WebhookSignature.generate_signature_header(body, secret, at)}


def slack_sdk(secret, body, id, at):
    from slack_sdk.signature import SignatureVerifier
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    return {"X-Slack-Signature": signature, "X-Slack-Request-Timestamp": str(at)}


LIBRARIES = {"standardwebhooks": standardwebhooks, "svix": svix, "stripe": stripe, "slack_sdk": slack_sdk}


def event(library, n):
    """An event as the sender writes them, and its id."""
    id = f"{'evt' if library == 'stripe' else 'msg'}_{n}"
    if library == "stripe":
        body = {"id": id, "object": "event", "type": "charge.succeeded", "data": {"object": {"amount": n, "name": "Zo\u00eb"}}}
    elif library == "slack_sdk":
        body = {"type": "event_callback", "event_id": id, "event": {"type": "message", "text": f"caf\u00e9 {n}"}}
    else:
        body = {"type": "contact.created", "data": {"id": n, "name": "Zo\u00eb"}}
    return id, json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def post(kind, url, headers, body):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    print(kind, status, text.decode())


def signed(library, url, secret, count):
    sign = LIBRARIES[library]
    other = OTHER["whsec" if secret.startswith("whsec_") else "text"]

    def send(kind, n, secret=secret, age=0, changed=False):
        id, body = event(library, n)
        headers = sign(secret, body, id, int(time.time()) - age)
        sent = body + " " if changed else body
        post(kind, url, {"Content-Type": "application/json", **headers}, sent.encode())

    for n in range(count):
        send("event", n)
    for n in range(count):
        send("again", n)
    for n in range(FEW):
        send("forged", count + n, secret=other)
        send("changed", count + n, changed=True)
        send("stale", count + n, age=3_600)


def cloudevents(url, secret, count):
    from cloudevents.core.bindings.http import to_binary_event, to_structured_event
    from cloudevents.core.v1.event import CloudEvent

    def send(kind, n, secret=secret):
        attributes = {"id": str(n), "source": "/shop", "type": "order.placed", "specversion": "1.0", "time": moment(time.time())}
        event = CloudEvent(attributes=attributes, data={"amount": n, "name": "Zo\u00eb"})
        message = (to_binary_event if n % 2 else to_structured_event)(event)
        headers = {"Content-Type": "application/json", **message.headers}
        if "content-type" in message.headers:
            del headers["Content-Type"]
        post(kind, url, {**headers, "X-Shop-Token": secret}, message.body)

    for n in range(count):
        send("event", n)
    for n in range(count):
        send("again", n)
    for n in range(FEW):
        send("forged", count + n, secret=OTHER["text"])


if sys.argv[1] == "versions":
    for library in sys.argv[2:]:
        print(library, importlib.metadata.version(library))
elif sys.argv[1] == "cloudevents":
    cloudevents(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    signed(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
