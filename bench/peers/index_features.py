"""The peer of bench/index.ts: the same statistics of every latent of an SAE on ViT-B/32, in a PyTorch loop on the CPU.

    python bench/peers/index_features.py --batch 8 --latents 49152 --seconds 6 [--k 64]

Prints one JSON object per line: {"how", "threads", "batch", "medianMs", "minMs"} for one batch: forward, encode, and for CLS and patches apart counts,
sums, sums of squares, the largest activation of each picture and its token, the lowest pre-activation and its token, running top 16 pictures, 4 lowest,
4 nearest to zero, a random sample of 8, a histogram of the pictures' scores and one of the activations of some tokens. How the linear layers are
computed: see vit_b32.py. `compiled`: what is reduced over tokens is (torch.compile), where a C++ compiler is at hand. Latents are taken in pieces that
stay in the cache, but for the encoder of a top-k SAE.
"""

import argparse
import json
import statistics
import sys

import torch
from vit_b32 import TOKENS, WIDTH, Linear, Tower, measure

BINS, SAMPLED, PIECE = 96, 6, 2048


def totals_and_extremes(acts, pre):
    """Over the tokens of a kind, `[batch, token, latents]`."""
    value, where = acts.max(1)
    low, low_where = pre.min(1)
    totals = torch.stack([(acts > 0).float().sum((0, 1)), acts.sum((0, 1)), acts.square().sum((0, 1))])
    return totals, value, where.int(), low, low_where.int()


class Trunk(Tower):
    """Up to the last residual stream."""

    def __call__(self, pixels):
        stream = []
        norm = self.layer_norm
        self.layer_norm = lambda x: (stream.append(x), norm(x))[1]
        super().__call__(pixels)
        self.layer_norm = norm
        return stream[-1]


class Lists:
    """Running extremes of pictures, by latent."""

    def __init__(self, k, latents):
        self.keys, self.items, self.where = torch.full((k, latents), torch.inf), torch.zeros(k, latents, dtype=torch.int32), torch.zeros(k, latents, dtype=torch.int32)

    def add(self, keys, items, where):
        # Only latents for which something enters.
        worst = self.keys[-1]
        chosen = (keys.min(0).values < worst).nonzero().squeeze(1)
        if len(chosen) == 0:
            return
        keys, where = keys[:, chosen], where[:, chosen]
        everything = torch.cat([self.keys[:, chosen], keys])
        top = torch.topk(everything, self.keys.shape[0], dim=0, largest=False)
        self.keys[:, chosen] = top.values
        self.items[:, chosen] = torch.cat([self.items[:, chosen], items.unsqueeze(1).expand(-1, len(chosen))]).gather(0, top.indices)
        self.where[:, chosen] = torch.cat([self.where[:, chosen], where]).gather(0, top.indices)


class Index:
    def __init__(self, batch, latents, k, how, compiled):
        self.tower, self.k, self.latents, self.seen = Trunk(batch, how), k, latents, 0
        self.encoders = [self.encoder(width, batch, how) for width in ([latents] if k else [min(PIECE, latents - at) for at in range(0, latents, PIECE)])]
        self.reduce = torch.compile(totals_and_extremes, dynamic=False) if compiled else totals_and_extremes
        self.kinds = {name: {"sums": torch.zeros(3, latents, dtype=torch.float64), **{n: Lists(s, latents) for n, s in (("top", 16), ("sample", 8), ("threshold", 4), ("negative", 4))}} for name in ("cls", "patch")}
        self.histogram, self.picture_histogram = torch.zeros(latents * BINS), torch.zeros(latents * BINS)
        self.offsets = torch.arange(latents) * BINS

    @staticmethod
    def encoder(latents, batch, how):
        encoder = Linear(WIDTH, latents, batch * TOKENS, how)
        encoder.weight = torch.randn(latents, WIDTH) / WIDTH**0.5
        if how == "onednn":
            encoder.weight = torch.ops.mkldnn._reorder_linear_weight(encoder.weight, batch * TOKENS)
        encoder.bias = torch.full((latents,), -2.05)
        return encoder

    def pieces(self, x):
        """Activations and pre-activations, `[batch, token, latents of a piece]`."""
        for encoder in self.encoders:
            pre = encoder(x.reshape(-1, WIDTH)).view(*x.shape[:2], -1)
            if not self.k:
                yield pre.relu(), pre
                continue
            top = torch.topk(pre, self.k, dim=-1)
            acts = torch.zeros_like(pre).scatter_(-1, top.indices, top.values.relu_())
            for at in range(0, self.latents, PIECE):
                yield acts[..., at : at + PIECE], pre[..., at : at + PIECE]

    def __call__(self, pixels):
        batch = pixels.shape[0]
        x = self.tower(pixels)
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        chosen = torch.rand(batch, TOKENS).topk(SAMPLED, dim=1).indices.unsqueeze(-1)
        reduced, sampled = {"cls": [], "patch": []}, []
        for acts, pre in self.pieces(x):
            for name, tokens in (("cls", slice(0, 1)), ("patch", slice(1, None))):
                reduced[name].append(self.reduce(acts[:, tokens], pre[:, tokens]))
            sampled.append(acts.gather(1, chosen.expand(-1, -1, acts.shape[-1])).view(-1, acts.shape[-1]))
        items = torch.arange(self.seen, self.seen + batch, dtype=torch.int32)
        best = None
        for name, lists in self.kinds.items():
            totals, value, where, low, low_where = (torch.cat(rows, -1) for rows in zip(*reduced[name]))
            lists["sums"] += totals
            active = torch.where(value > 0, value, torch.inf)
            lists["top"].add(-torch.where(value > 0, value, -torch.inf), items, where)
            lists["threshold"].add(active, items, where)
            lists["sample"].add(torch.where(value > 0, torch.rand_like(value), torch.inf), items, where)
            lists["negative"].add(low, items, low_where)
            best = value if best is None else torch.maximum(best, value)
        self.count(self.picture_histogram, best)
        self.count(self.histogram, torch.cat(sampled, -1))
        self.seen += batch

    def count(self, histogram, values):
        rows, latents = (values > 0).nonzero(as_tuple=True)
        bins = ((values[rows, latents].view(torch.int32) >> 21) - 4 * (127 - 14)).clamp_(0, BINS - 1)
        histogram.index_add_(0, self.offsets[latents] + bins, torch.ones(len(bins)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--latents", type=int, default=49152)
    parser.add_argument("--k", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    with torch.inference_mode():
        pixels = torch.randn(args.batch, 3, 224, 224)
        for compiled in (False, True):
            for how in ("linear", "onednn"):
                index = Index(args.batch, args.latents, args.k, how, compiled)
                try:
                    for _ in range(4):
                        index(pixels)
                except Exception as error:  # no compiler, or one that cannot be used
                    if not compiled:
                        raise
                    print(f"{how}, compiled: {error}", file=sys.stderr)
                    continue
                times = measure(lambda: index(pixels), args.seconds)  # noqa: B023
                name = f"{how}, compiled" if compiled else how
                print(json.dumps({"how": name, "threads": torch.get_num_threads(), "batch": args.batch, "medianMs": round(statistics.median(times), 2), "minMs": round(min(times), 2)}), flush=True)


if __name__ == "__main__":
    main()
