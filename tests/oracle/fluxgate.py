"""Signal files, and what must be shown of them. Shares no code with weir.

    fluxgate.py generate SEED   prints signals, one JSON object a line, in the order in which they arrive
    fluxgate.py expect < FILE   prints rows [name, labels, value] as JSON

The files have what the network does to signals: inversions, equal times, repeated deliveries, snapshots, self-transitions.
"""

import json
import random
import sys

STATES = ["closed", "open", "half_open", "metrics_only", "disabled", "forced_open"]


def generate(seed):
    rng = random.Random(seed)
    signals = []
    for circuit in range(rng.randint(1, 6)):
        state, now = "closed", 1_700_000_000 + rng.random()
        for number in range(rng.randint(0, 40)):
            new = rng.choice(STATES + [state])
            signal = {"circuit_name": f"s{seed}-c{circuit}", "old_state": state, "new_state": new, "timestamp": now}
            if rng.random() < 0.3:
                signal.update(instance=rng.choice("ab"), seq=number)
            if rng.random() < 0.1:
                del signal["old_state"]
                signal["kind"] = "snapshot"
            signals.append(signal)
            state = new
            # A third of the signals come at the same time as the one before.
            now += rng.choice([0.0, 0.001, rng.random() * 100])
    arrivals = [(at + rng.choice([0, 0, rng.random() * 20]), at, signal) for at, signal in enumerate(signals)]
    arrived = [signal for _, _, signal in sorted(arrivals, key=lambda arrival: arrival[:2])]
    for _ in range(len(arrived) // 10):
        arrived.insert(rng.randrange(len(arrived) + 1), dict(rng.choice(arrived)))
    return arrived


def expect(signals):
    seen, counts, newest = set(), {}, {}
    for signal in signals:
        circuit, old, new = signal["circuit_name"], signal.get("old_state"), signal["new_state"]
        snapshot = signal.get("kind") == "snapshot"
        key = (signal.get("instance"), circuit, signal.get("seq"), signal["timestamp"], None if snapshot else old, new)
        if key in seen:
            continue
        seen.add(key)
        if not snapshot:
            counts[circuit, old, new] = counts.get((circuit, old, new), 0) + 1
        if circuit not in newest or signal["timestamp"] >= newest[circuit][0]:
            newest[circuit] = (signal["timestamp"], new)
    rows = [
        ["circuit_breaker_state_transition_total", {"circuit_name": circuit, "old_state": old, "new_state": new}, count]
        for (circuit, old, new), count in counts.items()
    ]
    rows += [
        ["circuit_breaker_state", {"circuit_name": circuit, "state": state}, int(state == current)]
        for circuit, (_, current) in newest.items()
        for state in STATES
    ]
    return rows


if sys.argv[1] == "generate":
    for signal in generate(int(sys.argv[2])):
        print(json.dumps(signal))
else:
    print(json.dumps(expect([json.loads(line) for line in sys.stdin if line.strip()])))
