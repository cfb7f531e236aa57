"""What Cycles sends to its subscribers, and what must be counted of it.

usage: cycles.py SEED TENANTS_SECRET TENANTS_NEXT_SECRET SYSTEM_SECRET

Writes one JSON object: deliveries, in an order in which they may arrive, each with path, headers, content (base64) and the status
that the sender must hear; and expected, the series after half of them and after all, with and without the label tenant, each as
[name, labels, value]. Shares no code and no configuration with weir: the rules stand here a second time, in Python.
"""

import base64
import hashlib
import hmac
import json
import random
import sys
from datetime import datetime, timedelta, timezone

SEED, TENANTS, NEXT, SYSTEM = int(sys.argv[1]), *sys.argv[2:5]
rng = random.Random(SEED)
NOW = datetime.now(timezone.utc)

TYPES = {
    "budget": "created updated funded debited reset reset_spent debt_repaid frozen unfrozen closed closed_via_tenant_cascade "
              "threshold_crossed exhausted over_limit_entered over_limit_exited debt_incurred burn_rate_anomaly",
    "reservation": "denied denial_rate_spike expired expiry_rate_spike commit_overage released_via_tenant_cascade",
    "tenant": "created updated suspended reactivated closed settings_changed",
    "webhook": "created updated paused resumed disabled deleted disabled_via_tenant_cascade",
    "api_key": "created revoked revoked_via_tenant_cascade expired permissions_changed auth_failed auth_failure_rate_spike",
    "policy": "created updated deleted",
    "system": "store_connection_lost store_connection_restored high_latency webhook_delivery_failed webhook_test",
}
KNOWN = [f"{category}.{name}" for category, names in TYPES.items() for name in names.split()]
assert len(KNOWN) == 51
# Types that came later, and types of anybody's own.
OPEN = KNOWN + ["budget.rebalanced", "custom.invoice_sent", "ledger.migrated"]
OPERATIONS = ["CREDIT", "DEBIT", "RESET", "RESET_SPENT", "REPAY_DEBT", "STATUS_CHANGE", "CREATE", "UPDATE"]
NAMES = ["acme", "globex-2", "a" * 64, "__system__", None, "", "   "]


def instant(at):
    digits = rng.choice([0, 3, 6, 9])
    fraction = f".{rng.randrange(10 ** digits):0{digits}}" if digits else ""
    return at.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


def hex_id(length):
    return f"{rng.getrandbits(length * 4):0{length}x}"


def event(kind=None, tenant=None, **data):
    kind = kind or rng.choice(OPEN)
    category = kind.split(".")[0]
    made = {
        "event_id": "evt_" + hex_id(16),
        "event_type": kind,
        "category": category,
        "timestamp": instant(NOW - timedelta(seconds=rng.randrange(89 * 86_400))),
        "tenant_id": tenant or rng.choice(NAMES),
        "scope": "tenant:zo\u00eb/workspace:\u6771\u4eac",
        "actor": {"type": rng.choice(["admin", "api_key", "admin_on_behalf_of", "system", "scheduler"]), "source_ip": "10.0.0.1"},
        "source": rng.choice(["cycles-server", "cycles-admin", "cycles-events", "expiry-sweeper"]),
        "data": {"amount": 2 ** 53 + rng.randrange(2 ** 60), "note": "\u00fcber \"quoted\" \\ \u2028", **data},
        "correlation_id": rng.choice([None, hex_id(16)]),
        "trace_id": hex_id(32),
        "metadata": None,
    }
    if category == "budget":
        made["data"] |= shape(kind)
        if rng.random() < 0.05:
            made["data"] = None
    if rng.random() < 0.04:
        made[rng.choice(["tenant_id", "source"])] = rng.choice(["", " \t "])
    for field in ["category", "timestamp", "source"]:
        if rng.random() < 0.04:
            made[field] = None
    if rng.random() < 0.04:
        made["category"] = rng.choice(list(TYPES))
    if rng.random() < 0.06:
        made["trace_id"] = rng.choice([None, "short", hex_id(32).upper().replace("0", "G"), hex_id(33)])
    return made


def shape(kind):
    """Data of a budget as it should be, and as it should not."""
    data = {"ledger_id": "led_" + hex_id(8), "operation": rng.choice(OPERATIONS)}
    if rng.random() < 0.3:
        data["ledger_id"] = rng.choice([None, "", " ", 7, True, {"id": "led_1"}, ["led_1"], 10**25])
    if rng.random() < 0.3:
        data["operation"] = rng.choice([None, "", "credit", "CREDIT ", "FROBNICATE", 7, False, ["CREDIT"]])
    if kind == "budget.reset_spent" or rng.random() < 0.1:
        data["spent_override_provided"] = rng.choice([None, True, False, "true", "", 1, 0, 1.5, {}, [True]])
    return {key: value for key, value in data.items() if value is not None or rng.random() < 0.5}


def debts():
    """A commit that went into debt: an event for each of its scopes."""
    told_by = rng.choice(["reservation", "request", "trace"])
    reservation = "res_" + hex_id(12) if told_by == "reservation" else None
    request = None if told_by == "trace" else "req_" + hex_id(8)
    tenant, trace = rng.choice(NAMES[:4]), hex_id(32)
    scopes = []
    for scope in range(rng.randrange(1, 4)):
        one = event("budget.debt_incurred", tenant, reservation_id=reservation, debt_incurred=scope + 1)
        one["request_id"], one["trace_id"] = request, trace
        scopes.append(one)
    return scopes


def ping():
    made = event("system.webhook_test", "acme")
    made["event_id"] = "evt_test_" + hex_id(12)
    return made


def body(made):
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret, content):
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def delivery(subscription, made, outcome="ok", content=None):
    """A delivery, and what a reader of the books should know of it."""
    content = body(made) if content is None else content
    secret = SYSTEM if subscription == "system" else rng.choice([TENANTS, TENANTS, NEXT])
    if outcome == "signature_bad":
        secret = TENANTS if subscription == "system" else SYSTEM
    headers = [["Content-Type", "application/json"], ["User-Agent", "cycles-server-events/0.1.25.11"]]
    # Nobody has signed these: they say something else than the body.
    headers += [["X-Cycles-Event-Id", "evt_" + hex_id(16)], ["X-Cycles-Event-Type", "budget.created"]]
    headers += [["X-Cycles-Trace-Id", hex_id(32)]]
    if outcome != "signature_missing":
        headers.append(["X-Cycles-Signature", signature(secret, content)])
    if outcome == "signature_repeated":
        headers.append(["X-Cycles-Signature", "sha256=" + "0" * 64])
    return {
        "path": "/cycles/system" if subscription == "system" else "/cycles",
        "headers": headers,
        "content": base64.b64encode(content).decode(),
        "status": 401 if outcome.startswith("signature") else 200,
    }, (subscription, made, outcome)


def all_deliveries():
    events = [event(kind) for kind in KNOWN] + [event() for _ in range(220)]
    events += [event("reservation.expired") for _ in range(60)]
    events += [event("budget.reset_spent") for _ in range(40)]
    events += [one for _ in range(40) for one in debts()]
    sent = []
    for made in events:
        subscriptions = ["system"]
        if made["event_type"].split(".")[0] in ("budget", "reservation", "tenant"):
            subscriptions.append("tenants")
        for subscription in subscriptions:
            for _ in range(1 + (rng.random() < 0.2)):
                sent.append(delivery(subscription, made))
    sent += [delivery(subscription, ping()) for subscription in ["tenants", "system"] for _ in range(3)]
    for outcome in ["signature_missing", "signature_bad", "signature_repeated"]:
        sent += [delivery(rng.choice(["tenants", "system"]), event("reservation.expired"), outcome) for _ in range(12)]
    for _ in range(5):
        old = event("reservation.expired")
        old["timestamp"] = instant(NOW - timedelta(days=95))
        sent.append(delivery("system", old, "too_old"))
    sent += [delivery("tenants", None, "malformed", content) for content in [b"", b"{", b"[1]", b'"text"', b'{"a":1}}']]
    rng.shuffle(sent)
    # A replay of everything, months later as it were: the same ids and times.
    return sent + [delivery(subscription, made) for _, (subscription, made, outcome) in sent[:80] if outcome == "ok"]


def label(value):
    return "UNKNOWN" if value is None or not value.strip() else value


def type_label(made):
    return made["event_type"] if made["event_type"] in KNOWN else "other"


def broken_rules(made):
    kind, category = made["event_type"], made["category"]
    if None in (category, made["timestamp"]) or not (made["tenant_id"] or "").strip() or not (made["source"] or "").strip():
        yield "missing_required"
    if kind not in KNOWN:
        yield "unknown_event_type"
    owner = kind.split(".")[0]
    if kind in KNOWN and category is not None and category != owner:
        yield "category_mismatch"
    data = made["data"]
    if kind in KNOWN and owner == "budget" and data is not None:
        ledger, operation = data.get("ledger_id"), data.get("operation")
        if not isinstance(ledger, str) or not ledger.strip() or operation not in [None, *OPERATIONS]:
            yield "budget_data_shape"
        if kind == "budget.reset_spent" and not isinstance(data.get("spent_override_provided"), (bool, type(None))):
            yield "reset_spent_shape"
    trace = made["trace_id"]
    if trace is not None and not (len(trace) == 32 and set(trace) <= set("0123456789abcdef")):
        yield "trace_id_shape"


def expected(known, tenants):
    """The series after these deliveries."""
    series, seen = {}, set()

    def count(name, labels, *thing):
        if thing and (name, *thing) in seen:
            return
        if thing:
            seen.add((name, *thing))
        if not tenants:
            labels = {key: value for key, value in labels.items() if key != "tenant"}
        key = (name, tuple(sorted(labels.items())))
        series[key] = series.get(key, 0) + 1

    for subscription, made, outcome in known:
        if outcome != "ok":
            count("cycles_webhook_refused_total", {"source": subscription, "reason": outcome})
            continue
        id, tenant, kind = made["event_id"], label(made["tenant_id"]), type_label(made)
        count("cycles_webhook_received_total", {"subscription": subscription, "tenant": tenant, "event_type": kind}, subscription, id)
        if made["event_type"] == "reservation.expired":
            count("cycles_reservations_expired_total", {"tenant": tenant}, id)
        if made["event_type"] == "budget.debt_incurred":
            commit = (made["data"] or {}).get("reservation_id") or made.get("request_id") or made["trace_id"]
            count("cycles_overdraft_incurred_total", {"tenant": tenant}, commit or id)
        if made["source"] == "cycles-admin":
            count("cycles_admin_events_emitted_total", {"type": kind, "result": "success"}, id)
        for rule in broken_rules(made):
            count("cycles_webhook_events_payload_invalid_total", {"type": kind, "rule": rule}, rule, id)
    return [[name, dict(labels), value] for (name, labels), value in sorted(series.items())]


sent = all_deliveries()
half = len(sent) // 2
books = [known for _, known in sent]
print(json.dumps({
    "half": half,
    "deliveries": [request for request, _ in sent],
    "expected": {
        str(tenants).lower(): {"half": expected(books[:half], tenants), "all": expected(books, tenants)} for tenants in [True, False]
    },
}))
