"""Reads the residual stream of every layer of one picture into numpy. Needs a running server, numpy and nothing else.

    python examples/read_activations.py [picture] [server]
"""

import io
import json
import sys
import urllib.request

import numpy as np

picture = sys.argv[1] if len(sys.argv) > 1 else "examples/pictures/car.png"
server = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"


def post(path, body, content_type="application/json", accept="application/json"):
    request = urllib.request.Request(server + path, data=body, headers={"content-type": content_type, "accept": accept})
    return urllib.request.urlopen(request).read()


with open(picture, "rb") as file:
    image = json.loads(post("/v1/images", file.read(), content_type="image/png"))["id"]

run = {"model": "emoji-clip", "inputs": [{"image": image}], "read": ["blocks.*.hook_resid_post", "blocks.5.attn.hook_pattern"]}
arrays = np.load(io.BytesIO(post("/v1/forward", json.dumps(run).encode(), accept="application/x-npz")))

for name in arrays.files:
    print(f"{name:28} {str(arrays[name].shape):18} norm {np.linalg.norm(arrays[name]):.4f}")
