"""Reads streams of requests with h11 (Debian: python3-h11).

    h11_reader.py FILE...

Prints a line of JSON for each file: its requests, and how it ends.
"""
import json
import sys

import h11


def text(raw):
    return bytes(raw).decode("latin-1")


def pairs(headers):
    return [[text(name), text(value)] for name, value in headers]


def read(stream):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    connection.receive_data(b"")
    requests, body, request = [], b"", None
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if request is not None and not connection.trailing_data[0]:
                return requests, "incomplete"
            return requests, f"error: {error}"
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            requests.append(
                {
                    "method": text(request.method),
                    "target": text(request.target),
                    "fields": pairs(request.headers),
                    "body": text(body),
                    "trailers": pairs(event.headers),
                }
            )
            request = None
            # Only who has answered may go on.
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                rest = connection.trailing_data[0]
                return requests, "closes with more" if rest else "clean"
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed):
            return requests, "clean"
        else:
            return requests, f"error: {event}"


for name in sys.argv[1:]:
    with open(name, "rb") as file:
        requests, end = read(file.read())
    print(json.dumps({"requests": requests, "end": end}))
