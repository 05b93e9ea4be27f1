"""The peer of bench/forward.ts: a CLIP ViT-B/32 image tower with random weights in PyTorch on the CPU, at its fastest.

    python bench/peers/vit_b32.py --batches 1,8 --seconds 6

Prints one JSON object per line: {"how", "threads", "batch", "medianMs", "minMs"}. How:
  linear    nn.functional.linear as PyTorch ships it (MKL)
  onednn    every linear layer through oneDNN with its weight reordered once, GELU fused into it where that is faster
Attention is scaled_dot_product_attention, q, k and v are one projection: what a fast plain implementation would do. No hooks are attached.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

WIDTH, HEADS, LAYERS, MLP, PATCH, SIZE, OUT = 768, 12, 12, 3072, 32, 224, 512
TOKENS = (SIZE // PATCH) ** 2 + 1


class Linear:
    """x W^T + b, by MKL or by oneDNN with a weight reordered for `rows` rows."""

    def __init__(self, d_in, d_out, rows, how, activation="none", bias=True):
        self.how, self.activation = how, activation
        self.weight = torch.randn(d_out, d_in) * 0.02
        self.bias = torch.zeros(d_out) if bias else None
        if how == "onednn":
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, rows)

    def __call__(self, x):
        if self.how == "onednn":
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.activation, [], "none" if self.activation == "gelu" else "")
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.activation == "gelu" else y


class Tower:
    def __init__(self, batch, how):
        rows = batch * TOKENS
        self.patch = torch.randn(WIDTH, 3, PATCH, PATCH) * 0.02
        self.cls, self.positions = torch.randn(WIDTH), torch.randn(TOKENS, WIDTH)
        self.blocks = [
            (Linear(WIDTH, 3 * WIDTH, rows, how), Linear(WIDTH, WIDTH, rows, how), Linear(WIDTH, MLP, rows, how, "gelu"), Linear(MLP, WIDTH, rows, how))
            for _ in range(LAYERS)
        ]
        self.projection = Linear(WIDTH, OUT, batch, how, bias=False)
        self.norm = (torch.ones(WIDTH), torch.zeros(WIDTH))

    def layer_norm(self, x):
        return F.layer_norm(x, (WIDTH,), *self.norm)

    def __call__(self, pixels):
        batch = pixels.shape[0]
        x = F.conv2d(pixels, self.patch, stride=PATCH).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(batch, 1, WIDTH), x], 1) + self.positions
        x = self.layer_norm(x)
        for qkv, out, up, down in self.blocks:
            q, k, v = qkv(self.layer_norm(x)).view(batch, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, TOKENS, WIDTH))
            x = x + down(up(self.layer_norm(x)))
        return self.projection(self.layer_norm(x)[:, 0])


def measure(run, seconds):
    run()
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--threads", default="")
    args = parser.parse_args()
    most = torch.get_num_threads()
    with torch.inference_mode():
        for batch in map(int, args.batches.split(",")):
            pixels = torch.randn(batch, 3, SIZE, SIZE)
            for threads in map(int, args.threads.split(",")) if args.threads else sorted({1, most}):
                torch.set_num_threads(threads)
                for how in ("linear", "onednn"):
                    tower = Tower(batch, how)
                    times = measure(lambda: tower(pixels), args.seconds)
                    print(json.dumps({"how": how, "threads": threads, "batch": batch, "medianMs": round(statistics.median(times), 2), "minMs": round(min(times), 2)}), flush=True)


if __name__ == "__main__":
    main()
