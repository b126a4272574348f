"""Checks the blocks of messages (a JSON list on standard input) with Slack's own library."""
import json
import sys

from slack_sdk.models.blocks import Block

for message in json.load(sys.stdin):
    for given in message.get("blocks", []):
        block = Block.parse(given)
        assert block is not None, given
        block.validate_json()
        assert block.to_dict()["type"] == given["type"], given
print("valid")
