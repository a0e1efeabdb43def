#!/usr/bin/python3
"""An echo with the contract's extensions: exact over crashes of the gateway. It closes who has ended its input."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'upstream' / 'python'))
from paradox_upstream import Handler, serve  # noqa: E402


class Echo(Handler):
    def on_bytes(self, client, data, offset):
        self.upstream.send(client, data)

    def on_end(self, client):
        self.upstream.close(client)


serve(Echo())
