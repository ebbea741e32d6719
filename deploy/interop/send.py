"""Sends a usage event with the CloudEvents SDK for Python: send.py URL KEY ID structured|binary"""
import sys
import requests
from cloudevents.http import CloudEvent, to_binary, to_structured

url, key, event_id, mode = sys.argv[1:5]
event = CloudEvent(
    {"id": event_id, "source": "alchemi-web", "type": "cockpit.usage.v1", "datacontenttype": "application/json"},
    {"account": "acme", "section": "copilot", "user": "u-42", "team": "support", "model": "gpt-5", "quantities": {"input_tokens": 1000}},
)
headers, body = (to_structured if mode == "structured" else to_binary)(event)
answer = requests.post(url, data=body, headers={**headers, "Authorization": "Bearer " + key}, timeout=30)
print(answer.status_code, answer.text)
sys.exit(0 if answer.status_code == 202 else 1)
