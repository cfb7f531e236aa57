"""Real breakers of pybreaker behind a JSON endpoint, as a service would show them.

    pybreaker_serve.py PORT
    GET /breakers         {"breakers": [{"name": …, "state": …}]}
    GET /fail?NAME        makes a call that fails
    GET /open?NAME, /half_open?NAME, /close?NAME, /forget?NAME
"""

import http.server
import json
import sys
import urllib.parse

import pybreaker

BREAKERS = {name: pybreaker.CircuitBreaker(fail_max=2, name=name) for name in ("pay", "ship")}


def fail(breaker):
    try:
        breaker.call(lambda: 1 / 0)
    except (ZeroDivisionError, pybreaker.CircuitBreakerError):
        pass


class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, name = self.path.partition("?")
        name = urllib.parse.unquote(name)
        if path == "/forget":
            del BREAKERS[name]
        elif path == "/fail":
            fail(BREAKERS[name])
        elif path != "/breakers":
            getattr(BREAKERS[name], path[1:])()
        told = [{"name": breaker.name, "state": breaker.current_state} for breaker in BREAKERS.values()]
        body = json.dumps({"breakers": told}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
