"""Asks for a page from wherever it is run: `python -m tests.peers.ask URL [JSON]` tells in JSON what came."""

import json
import sys

import httpx2

WAIT_SECONDS = 2.0


def main() -> None:
    """Print the status and the body, or why nobody answered; with JSON it is a POST."""
    url, *body = sys.argv[1:]
    try:
        with httpx2.Client(trust_env=False, timeout=WAIT_SECONDS) as http:
            answer = http.post(url, json=json.loads(body[0])) if body else http.get(url)
        told = {"status": answer.status_code, "text": answer.text}
    except httpx2.TransportError as nobody:
        told = {"status": 0, "text": type(nobody).__name__}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
