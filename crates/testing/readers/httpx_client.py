"""httpx-sse in the reconnect loop that its documentation recommends: python httpx_client.py URL"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

last_event_id, retry_ms = "", 3000
with httpx.Client(timeout=httpx.Timeout(5, read=30)) as client:
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        try:
            with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
                if source.response.status_code == 204:
                    break
                source.response.raise_for_status()
                for event in source.iter_sse():
                    last_event_id = event.id
                    retry_ms = event.retry or retry_ms
                    print(json.dumps({"id": event.id, "event": event.event, "data": event.data}), flush=True)
        except httpx.TransportError:
            pass
        time.sleep(retry_ms / 1000)
