"""weir's listener with nobody at the other end: prints how long 1,000 calls took, and how many signals were dropped."""

import json
import socket
import sys
import time
from pathlib import Path

import fluxgate
from fluxgate.signal import Signal

sys.path.insert(0, str(Path(__file__).parents[3] / "examples/fluxgate"))
from weir_listener import WeirListener  # noqa: E402

# A door that takes connections and never answers.
door = socket.create_server(("127.0.0.1", 0))
listener = WeirListener(f"http://127.0.0.1:{door.getsockname()[1]}/signals", circuit_name="pay", capacity=100)
named = "circuit_name" in Signal.__dataclass_fields__
states = getattr(fluxgate, "StateEnum", None)
closed, opened = (states.CLOSED, states.OPEN) if states else ("closed", "open")
listener(Signal(**({"circuit_name": "pay"} if named else {}), old_state=closed, new_state=opened, timestamp=time.time()))
while listener._waiting.qsize():  # the first one is on its way, so the queue is empty
    time.sleep(0.001)
signal = Signal(**({"circuit_name": "pay"} if named else {}), old_state=closed, new_state=opened, timestamp=time.time())
began = time.perf_counter()
for _ in range(1000):
    listener(signal)
print(json.dumps({"took_ms": (time.perf_counter() - began) * 1000, "dropped": listener.dropped}))
