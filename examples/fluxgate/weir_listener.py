"""Send fluxgate's signals to weir. Copy this file into your service; it needs nothing but the standard library.

    listener = WeirListener("http://127.0.0.1:9464/signals", circuit_name="payment_api")
    breaker = CircuitBreaker(..., listeners=[listener])      # AsyncCircuitBreaker takes AsyncWeirListener
    listener.announce(breaker)                               # so that a breaker which never trips is seen

fluxgate up to 0.7 puts the circuit's name into each signal, and one listener serves many breakers; from 0.8 on a listener
belongs to one breaker and is told its name.

A listener never blocks its caller: it puts the signal into a bounded queue, and a daemon thread sends what waits, in order, and
again until weir has taken it. When the queue is full the newest signal is dropped and counted in `dropped`; weir notices the
hole in the chain. `instance` and `seq` let weir know a repeated delivery from a new signal.
"""

import dataclasses
import itertools
import json
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
import uuid


class WeirListener:
    def __init__(self, url, circuit_name=None, instance=None, capacity=10_000):
        self.url, self.circuit_name, self.dropped = url, circuit_name, 0
        # A process that starts anew counts from 1 again, so its name must be new too.
        self.instance = instance or f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._sequence = itertools.count(1)
        self._order = threading.Lock()
        self._waiting = queue.Queue(capacity)
        threading.Thread(target=self._send_for_ever, name="weir-listener", daemon=True).start()

    def __call__(self, signal):
        self._put({field.name: _plain(getattr(signal, field.name)) for field in dataclasses.fields(signal)})

    def announce(self, breaker):
        """Tells weir the state of a breaker without counting a transition."""
        info = breaker.info()
        self._put({
            "kind": "snapshot",
            "circuit_name": getattr(info, "name", None) or self.circuit_name,
            "new_state": _plain(info.state),
            "timestamp": info.changed_at,
        })

    def flush(self, timeout=5.0):
        """Waits until all is sent, at most `timeout` seconds; for orderly shutdowns. Says whether all was."""
        end = time.monotonic() + timeout
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
        return not self._waiting.unfinished_tasks

    def _put(self, event):
        event.setdefault("circuit_name", self.circuit_name)
        with self._order:  # the queue holds sequence numbers in order, whichever thread calls
            event.update(instance=self.instance, seq=next(self._sequence))
            try:
                self._waiting.put_nowait(event)
            except queue.Full:
                self.dropped += 1

    def _send_for_ever(self):
        while True:
            events = [self._waiting.get()]
            while len(events) < 500 and not self._waiting.empty():
                events.append(self._waiting.get_nowait())
            self._send(json.dumps(events).encode())
            for _ in events:
                self._waiting.task_done()

    def _send(self, body):
        for pause in itertools.chain((0.1, 0.2, 0.5, 1, 2), itertools.repeat(5)):
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
            try:
                urllib.request.urlopen(request, timeout=10).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500 and error.code != 429:  # weir will never take it: a wrong state name, say
                    return
            except OSError:
                pass
            time.sleep(pause)


class AsyncWeirListener(WeirListener):
    """The same for AsyncCircuitBreaker: nothing in it waits, so the event loop is never held up."""

    async def __call__(self, signal):
        WeirListener.__call__(self, signal)


def _plain(value):
    return getattr(value, "value", value)  # up to 0.8 a state is an Enum
