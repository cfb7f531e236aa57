"""Real breakers of fluxgate, 0.6.1 or 0.9.4, under threads or asyncio, with weir's listener and the library's own side by side.

    fluxgate_drive.py URL sync|async SEED   prints rows [name, labels, value] as JSON

Counts are those of the library's PrometheusListener; states are what the breakers themselves say in the end.
"""

import asyncio
import json
import random
import sys
import threading
from pathlib import Path

import fluxgate
import prometheus_client
from fluxgate.listeners.prometheus import PrometheusListener
from fluxgate.retries import Always
from fluxgate.trippers import FailureStreak
from fluxgate.windows import CountWindow

sys.path.insert(0, str(Path(__file__).parents[3] / "examples/fluxgate"))
from weir_listener import AsyncWeirListener, WeirListener  # noqa: E402

URL, KIND, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
STATES = ["closed", "open", "half_open", "metrics_only", "disabled", "forced_open"]
NAMED = "name" in fluxgate.CircuitBreaker.__init__.__code__.co_varnames[:2]  # up to 0.7 a breaker has a name
BREAKERS, CALLS = 8, 60
ACTIONS = ["works"] * 4 + ["fails"] * 6 + ["reset", "force_open", "force_open", "disable", "metrics_only"]
Listener = AsyncWeirListener if KIND == "async" else WeirListener
Breaker = fluxgate.AsyncCircuitBreaker if KIND == "async" else fluxgate.CircuitBreaker
shared = (Listener(URL), PrometheusListener()) if NAMED else None


def breaker(name):
    weir, own = shared or (Listener(URL, circuit_name=name), PrometheusListener(name))
    named = {"name": name} if NAMED else {}
    made = Breaker(
        window=CountWindow(10), tripper=FailureStreak(1), retry=Always(), listeners=[weir, own], **named
    )
    weir.announce(made)
    return name, made, weir


def works():
    return True


def fails():
    raise ValueError("on purpose")


def drive(made, rng):
    for _ in range(CALLS):
        action = rng.choice(ACTIONS)
        try:
            made.call({"works": works, "fails": fails}[action]) if action in ("works", "fails") else getattr(made, action)()
        except (ValueError, fluxgate.CallNotPermittedError):
            pass


async def drive_async(made, rng):
    async def call(works):
        await asyncio.sleep(0)
        return None if works else fails()

    async def one():
        action = rng.choice(ACTIONS)
        try:
            await (made.call(call, action == "works") if action in ("works", "fails") else getattr(made, action)())
        except (ValueError, fluxgate.CallNotPermittedError):
            pass

    for _ in range(CALLS // 3):
        await asyncio.gather(one(), one(), one())


async def all_async(breakers):
    await asyncio.gather(*(drive_async(made, random.Random(SEED + at)) for at, (_, made, _) in enumerate(breakers)))


breakers = [breaker(f"{KIND}{SEED}-{at}") for at in range(BREAKERS)]
if KIND == "async":
    asyncio.run(all_async(breakers))
else:
    threads = [
        threading.Thread(target=drive, args=(made, random.Random(SEED + at))) for at, (_, made, _) in enumerate(breakers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
for _, _, weir in breakers:
    assert weir.flush(20), "not all signals were sent"
    assert weir.dropped == 0, "the queue was large enough"

rows = []
for metric in prometheus_client.REGISTRY.collect():
    for sample in metric.samples:
        if sample.name == "circuit_breaker_state_transition_total":
            rows.append([sample.name, sample.labels, sample.value])
assert len(rows) > BREAKERS, "the breakers hardly moved"
for name, made, _ in breakers:
    current = getattr(made.info().state, "value", made.info().state)
    rows += [["circuit_breaker_state", {"circuit_name": name, "state": state}, int(state == current)] for state in STATES]
print(json.dumps(rows))
