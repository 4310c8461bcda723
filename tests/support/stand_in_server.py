"""In place of `septet serve` in tests of the lab: the same command line, where the model names what goes wrong.

Run as `python stand_in_server.py APP --model MODEL --bind HOST:PORT`.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

dying = threading.Lock()

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


class Handler(BaseHTTPRequestHandler):
    status = 200
    mortal = False
    burns_in_child = False
    served = 0
    takes_s = 0.0

    def do_GET(self) -> None:
        type(self).served += 1
        if self.mortal and self.served > 20:
            dying.acquire()  # never released: one thread has the last word
            print("the heart stopped", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.takes_s)
        self.send_response(self.status)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that left


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("--model")
    parser.add_argument("--bind")
    options = parser.parse_args()
    host, _, port = options.bind.rpartition(":")
    match options.model:
        case "stillborn":
            sys.exit("stand-in: there is no such application")
        case "silent":
            signal.pause()
        case "wrong":
            Handler.status = 500
        case "mortal":
            Handler.mortal = True
        case "slow":
            Handler.takes_s = 0.05
        case "parent":
            subprocess.Popen(SLEEPER)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in every thread: `sigwait` takes it
    server = Server((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"stand-in: listening on http://{host}:{port}", file=sys.stderr, flush=True)
    if options.model == "stubborn":
        signal.pause()
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


main()
