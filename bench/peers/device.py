"""The peers of bench/device.ts in PyTorch on one device, from the host's memory to the host's memory, with random weights.

    python bench/peers/device.py forward --model vit-l-14 --batch 32 --device cuda:0 --precision tf32 --seconds 3
    python bench/peers/device.py encode|steer --batch 32
    python bench/peers/device.py sweep

Prints one JSON object per line: {"how", "threads", "batch", "medianMs", "minMs"}. How: `eager`, and `compiled` (torch.compile) where a C++ compiler
is at hand. Attention is scaled_dot_product_attention, q, k and v are one projection. The sweep computes the blocks before its hook point once.
"""

import argparse
import json
import shutil
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

MODELS = {"vit-b-32": (768, 12, 12, 3072, 32, 512), "vit-l-14": (1024, 24, 16, 4096, 14, 768)}
SIZE, LAYER, D_SAE, K, TOKENS = 224, 9, 49152, 64, 50


class Block(nn.Module):
    def __init__(self, d, heads, mlp):
        super().__init__()
        self.heads, self.n1, self.n2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out, self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(d, d), nn.Linear(d, mlp), nn.Linear(mlp, d)

    def forward(self, x):
        q, k, v = self.qkv(self.n1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.n2(x))))


class Tower(nn.Module):
    def __init__(self, name):
        super().__init__()
        d, layers, heads, mlp, patch, out = MODELS[name]
        self.patches = nn.Conv2d(3, d, patch, patch, bias=False)
        self.cls, self.positions = nn.Parameter(torch.randn(1, 1, d)), nn.Parameter(torch.randn((SIZE // patch) ** 2 + 1, d))
        self.pre, self.final, self.head = nn.LayerNorm(d), nn.LayerNorm(d), nn.Linear(d, out, bias=False)
        self.blocks = nn.ModuleList(Block(d, heads, mlp) for _ in range(layers))

    def before(self, pixels, block=0):
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = self.pre(torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions)
        for each in self.blocks[:block]:
            x = each(x)
        return x

    def after(self, x, block=0):
        for each in self.blocks[block:]:
            x = each(x)
        return self.head(self.final(x[:, 0]))


class Forward(Tower):
    def forward(self, pixels):
        return self.after(self.before(pixels))


class Steer(Tower):
    def forward(self, pixels, direction):
        return self.after(self.before(pixels, LAYER + 1) + 4 * direction, LAYER + 1)


class Sweep(Tower):
    def forward(self, pixels, directions, strengths, targets):
        x = self.before(pixels, LAYER + 1)
        steps = strengths[None, :, None] * F.normalize(directions, dim=-1)[:, None] * x.norm(dim=-1).mean()
        answers = self.after(x + steps.flatten(0, 1)[:, None], LAYER + 1)
        return F.normalize(answers, dim=-1) @ targets.T


class Encoder(nn.Module):
    def __init__(self, d=768):
        super().__init__()
        self.W, self.b, self.b_dec = nn.Parameter(torch.randn(d, D_SAE) * 0.03), nn.Parameter(torch.zeros(D_SAE)), nn.Parameter(torch.zeros(d))

    def forward(self, x):
        values, latents = torch.addmm(self.b, x - self.b_dec, self.W).topk(K)
        return F.relu(values), latents.int()


def task(args):
    pixels = torch.randn(args.batch, 3, SIZE, SIZE)
    if args.task == "forward":
        return Forward(args.model), (pixels,)
    if args.task == "encode":
        return Encoder(), (torch.randn(args.batch * TOKENS, 768),)
    if args.task == "steer":
        return Steer(args.model), (pixels, torch.randn(768))
    return Sweep(args.model), (pixels[:1], torch.randn(5, 768), torch.arange(-10.0, 11.0), torch.randn(3, 512))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["forward", "encode", "steer", "sweep"])
    parser.add_argument("--model", choices=MODELS, default="vit-b-32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--precision", choices=["float32", "tf32", "float16"], default="float32")
    parser.add_argument("--seconds", type=float, default=3)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    dtype = torch.float16 if args.precision == "float16" else torch.float32
    model, inputs = task(args)
    model = model.to(args.device, dtype).eval()

    def run(of):
        answer = of(*(each.to(args.device, dtype) for each in inputs))
        return [each.cpu() for each in (answer if isinstance(answer, tuple) else (answer,))]

    ways = {"eager": model}
    if shutil.which("g++"):
        ways["compiled"] = torch.compile(model)
    times = {}
    with torch.inference_mode():
        for how, of in list(ways.items()):
            try:
                for _ in range(3):
                    run(of)
                times[how] = []
            except Exception as error:  # a compiler that is there but cannot be used
                if how == "eager":
                    raise
                print(f"{how}: {type(error).__name__}", file=sys.stderr)
        end = time.perf_counter() + args.seconds * len(times)
        while time.perf_counter() < end or len(times["eager"]) < 5:
            for how in times:
                began = time.perf_counter()
                run(ways[how])
                times[how].append(1000 * (time.perf_counter() - began))
    for how, own in times.items():
        print(json.dumps({"how": how, "threads": torch.get_num_threads(), "batch": args.batch, "medianMs": statistics.median(own), "minMs": min(own)}))


if __name__ == "__main__":
    main()
