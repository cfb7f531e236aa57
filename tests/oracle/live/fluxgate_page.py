"""What fluxgate's own PrometheusListener, 0.6.1 or 0.9.4, serves after the signals of a file: its page, as text.

    fluxgate_page.py < FILE   signals as JSON, one a line, in the order in which they arrived

The listener is called as a breaker calls it: in the order of time, once a signal. Signals of one time keep their order.
"""

import inspect
import json
import sys

import prometheus_client
from fluxgate.listeners.prometheus import PrometheusListener
from fluxgate.signal import Signal

prometheus_client.disable_created_metrics()
for collector in [prometheus_client.PROCESS_COLLECTOR, prometheus_client.PLATFORM_COLLECTOR, prometheus_client.GC_COLLECTOR]:
    prometheus_client.REGISTRY.unregister(collector)

NAMED = "circuit_name" in inspect.signature(Signal).parameters  # up to 0.7 a signal names its circuit
if NAMED:
    from fluxgate.state import StateEnum as state
    shared = PrometheusListener()
else:
    state = str

seen, listeners = set(), {}
for signal in sorted(map(json.loads, sys.stdin), key=lambda signal: signal["timestamp"]):
    circuit, old, new, time = (signal[key] for key in ["circuit_name", "old_state", "new_state", "timestamp"])
    retry = (signal.get("instance"), circuit, signal.get("seq"), time, old, new)
    if retry in seen:
        continue
    seen.add(retry)
    if NAMED:
        shared(Signal(circuit, state(old), state(new), time))
    else:
        listeners.setdefault(circuit, PrometheusListener(circuit))(Signal(state(old), state(new), time))
print(prometheus_client.generate_latest().decode(), end="")
