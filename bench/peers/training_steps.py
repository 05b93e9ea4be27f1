"""The peers of bench/training-steps.ts and bench/device.ts: one training step in PyTorch, in the ways that are known to be fast.

    python bench/peers/training_steps.py sae --rows free --seconds 6
    python bench/peers/training_steps.py vit --seconds 6 [--device cuda:0]

Prints one JSON object per line: {"how", "threads", "batch", "medianMs", "minMs"}. How: `eager`, `eager, fused` (the fused Adam), and
`compiled, fused` (torch.compile) where a C++ compiler is at hand.
"""

import argparse
import json
import shutil
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Sae(nn.Module):
    def __init__(self, d_in=768, d_sae=6144):
        super().__init__()
        decoder = F.normalize(torch.randn(d_sae, d_in), dim=1)
        self.W_enc, self.b_enc = nn.Parameter(decoder.T.clone()), nn.Parameter(torch.zeros(d_sae))
        self.W_dec, self.b_dec = nn.Parameter(decoder), nn.Parameter(torch.zeros(d_in))

    def forward(self, x):
        latents = torch.relu(torch.addmm(self.b_enc, x - self.b_dec, self.W_enc))
        return F.mse_loss(torch.addmm(self.b_dec, latents, self.W_dec), x) + 1e-3 * latents.sum(1).mean()


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.n1, self.n2 = heads, nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.qkv, self.out, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.n2(x))))


class Vit(nn.Module):
    def __init__(self, d=128, layers=6, heads=4, classes=98):
        super().__init__()
        self.patches, self.cls, self.positions = nn.Conv2d(3, d, 8, 8), nn.Parameter(torch.zeros(1, 1, d)), nn.Parameter(torch.zeros(65, d))
        self.blocks, self.norm, self.head = nn.ModuleList(Block(d, heads) for _ in range(layers)), nn.LayerNorm(d, 1e-6), nn.Linear(d, classes)

    def forward(self, pixels, labels):
        x = torch.cat([self.cls.expand(len(pixels), -1, -1), self.patches(pixels).flatten(2).transpose(1, 2)], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)[:, 0]), labels)


def step_of(kind, rows, device, compiled, fused):
    torch.manual_seed(0)
    if kind == "sae":
        model, inputs = Sae().to(device), (torch.randn(1024, 768),)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=fused)
    else:
        model, inputs = Vit().to(device), (torch.randn(128, 3, 64, 64), torch.arange(128) % 98)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=fused)
    loss_of = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss_of(*(each.to(device) for each in inputs)).backward()
        with torch.no_grad():
            if kind == "vit":
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            elif rows == "unit":  # gradients lose what would change the rows' length
                W, g = model.W_dec, model.W_dec.grad
                g -= (g * W).sum(1, keepdim=True) * W
        optimizer.step()
        if kind == "sae" and rows == "unit":
            with torch.no_grad():
                model.W_dec /= model.W_dec.norm(dim=1, keepdim=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["sae", "vit"])
    parser.add_argument("--rows", choices=["free", "unit"], default="free")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--precision", choices=["float32"], default="float32")
    parser.add_argument("--seconds", type=float, default=6)
    args = parser.parse_args()
    ways = {"eager": (False, False), "eager, fused": (False, True)}
    if shutil.which("g++"):
        ways["compiled, fused"] = (True, True)
    steps = {}
    for how, (compiled, fused) in ways.items():
        try:
            steps[how] = step_of(args.kind, args.rows, args.device, compiled, fused)
            for _ in range(3):
                steps[how]()
        except Exception as error:  # a compiler that is there but cannot be used
            if not compiled:
                raise
            steps.pop(how, None)
            print(json.dumps({"note": f"{how}: {type(error).__name__}"}), file=__import__("sys").stderr)
    times = {how: [] for how in steps}
    end = time.perf_counter() + args.seconds * len(steps)
    while time.perf_counter() < end or len(times["eager"]) < 5:
        for how, step in steps.items():
            began = time.perf_counter()
            step()
            times[how].append(1000 * (time.perf_counter() - began))
    for how, own in times.items():
        print(json.dumps({"how": how, "threads": torch.get_num_threads(), "batch": 1024 if args.kind == "sae" else 128,
                          "medianMs": statistics.median(own), "minMs": min(own)}))


if __name__ == "__main__":
    main()
