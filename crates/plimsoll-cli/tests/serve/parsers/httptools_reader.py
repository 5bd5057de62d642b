"""Reads streams of requests with httptools, which is Node's parser in C (Debian:
python3-httptools).

    httptools_reader.py FILE...

Prints a line of JSON for each file: its requests, and how it ends.
"""
import json
import re
import sys

import httptools


LONGER = re.compile(rb"\ntransfer-encoding[^:\n]+:", re.IGNORECASE)


def text(raw):
    return raw.decode("latin-1")


class Reader:
    def __init__(self, requests):
        self.requests = requests
        self.request = None

    def on_message_begin(self):
        self.request = {"target": "", "fields": [], "body": "", "trailers": []}
        self.fields = self.request["fields"]

    def on_url(self, url):
        self.request["target"] += text(url)

    def on_header(self, name, value):
        self.fields.append([text(name).lower(), text(value or b"")])

    def on_headers_complete(self):
        self.request["method"] = text(self.parser.get_method())
        self.fields = self.request["trailers"]

    def on_body(self, body):
        self.request["body"] += text(body)

    def on_message_complete(self):
        self.requests.append(self.request)
        self.request = None


def read(stream):
    requests = []
    while True:
        reader = Reader(requests)
        reader.parser = httptools.HttpRequestParser(reader)
        try:
            reader.parser.feed_data(stream)
        except httptools.HttpParserUpgrade as upgrade:
            # It would leave what follows to another protocol.
            stream = stream[upgrade.args[0] :]
            if stream:
                continue
        except httptools.HttpParserInvalidMethodError:
            # It knows no others than those with a name of their own.
            return requests, "stops"
        except httptools.HttpParserError as error:
            # It takes Transfer-Encoding1 for a Transfer-Encoding, and refuses it, or
            # a Content-Length beside it.
            known = ("invalid transfer-encoding", "unexpected content-length")
            if any(what in str(error) for what in known) and LONGER.search(stream):
                return requests, "stops"
            return requests, f"error: {error}"
        return requests, "clean" if reader.request is None else "incomplete"


for name in sys.argv[1:]:
    with open(name, "rb") as file:
        requests, end = read(file.read())
    print(json.dumps({"requests": requests, "end": end}))
