"""The peer of bench/patching.ts: a 12 x 12 grid of patched heads on one pair of pictures, ViT-B/32 with random weights in PyTorch on the CPU.

    python bench/peers/patching.py --seconds 20

Prints one JSON object per line: {"how", "threads", "batch", "medianMs", "minMs"}, of the whole grid. How is `<runs> <linear>`:
  hooks    every cell is a row of a batch that runs from the pictures, with a hook that replaces a head's z
  prefix   the same from the cached residual stream that enters the block: nothing before it is computed twice
  linear   nn.functional.linear as PyTorch ships it; onednn: every linear layer through oneDNN (see vit_b32.py)
The 12 heads of a layer are one batch. Values of both runs are cached first, which counts.
"""

import argparse
import json
import statistics

import torch
import torch.nn.functional as F

from vit_b32 import HEADS, LAYERS, PATCH, SIZE, TOKENS, WIDTH, Tower, measure


class Hooked(Tower):
    """The tower in pieces, with a hook at each block's z."""

    def embed(self, pixels):
        batch = pixels.shape[0]
        x = F.conv2d(pixels, self.patch, stride=PATCH).flatten(2).transpose(1, 2)
        return self.layer_norm(torch.cat([self.cls.expand(batch, 1, WIDTH), x], 1) + self.positions)

    def run(self, x, first=0, hook=None):
        batch = x.shape[0]
        for layer in range(first, LAYERS):
            qkv, out, up, down = self.blocks[layer]
            q, k, v = qkv(self.layer_norm(x)).view(batch, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
            z = F.scaled_dot_product_attention(q, k, v)
            z = hook(layer, x, z) if hook else z
            x = x + out(z.transpose(1, 2).reshape(batch, TOKENS, WIDTH))
            x = x + down(up(self.layer_norm(x)))
        return self.projection(self.layer_norm(x)[:, 0])


def grid(tower, clean, corrupted, caches_prefix):
    values, residuals = {}, {}

    def keep(layer, x, z):
        values[layer], residuals[layer] = z[:1], x[1:]
        return z

    tower.run(tower.embed(torch.cat([clean, corrupted])), hook=keep)
    cells = []
    for patched in range(LAYERS):

        def patch(layer, _, z):
            if layer != patched:
                return z
            z = z.clone()
            heads = torch.arange(HEADS)
            z[heads, heads] = values[layer][0]
            return z

        if caches_prefix:
            cells.append(tower.run(residuals[patched].expand(HEADS, -1, -1), patched, patch))
        else:
            cells.append(tower.run(tower.embed(corrupted.expand(HEADS, -1, -1, -1)), hook=patch))
    return torch.stack(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", default="")
    args = parser.parse_args()
    most = torch.get_num_threads()
    clean, corrupted = torch.randn(1, 3, SIZE, SIZE), torch.randn(1, 3, SIZE, SIZE)
    with torch.inference_mode():
        for threads in map(int, args.threads.split(",")) if args.threads else [most]:
            torch.set_num_threads(threads)
            for linear in ("linear", "onednn"):
                tower = Hooked(HEADS, linear)
                for runs in ("hooks", "prefix"):
                    times = measure(lambda: grid(tower, clean, corrupted, runs == "prefix"), args.seconds)
                    row = {"how": f"{runs} {linear}", "threads": threads, "batch": HEADS, "medianMs": round(statistics.median(times), 2), "minMs": round(min(times), 2)}
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
