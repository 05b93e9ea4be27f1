"""The recipe of demo/configs/emoji-clip.yaml in PyTorch, to compare what it learns: same data, model, losses, optimizer, schedule and number of steps.
Augmentations are the same by distribution, random numbers are PyTorch's. Prints the test accuracy as JSON.

    npm --prefix demo ci && node demo/pictures.mjs
    python bench/peers/emoji_clip.py [--steps 5500] [--seed 0]

Needs torch, transformers (for the tokenizer), pillow, numpy, pyyaml.
"""

import argparse
import json
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import nn
from transformers import CLIPTokenizer

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "demo/.pictures"
words = lambda name: re.sub(r"[-_]+", " ", name).strip().lower()


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.mlp_in, self.mlp_out = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, causal):
        h = self.ln1(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2))
        h = self.mlp_in(self.ln2(x))
        return x + self.mlp_out(h * torch.sigmoid(1.702 * h))


class Tower(nn.Module):
    def __init__(self, layers, d, heads, positions, position_std, embed):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(positions, d) * position_std)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.final, self.head = nn.LayerNorm(d), nn.Linear(d, embed, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # as CLIP's authors do
            for layer in (block.q, block.k, block.v):
                nn.init.normal_(layer.weight, std=d**-0.5)
            nn.init.normal_(block.mlp_in.weight, std=(2 * d) ** -0.5)
            for layer in (block.o, block.mlp_out):
                nn.init.normal_(layer.weight, std=(2 * layers * d) ** -0.5)
        nn.init.normal_(self.head.weight, std=d**-0.5)

    def run(self, x, row, causal=False):
        for block in self.blocks:
            x = block(x, causal)
        return F.normalize(self.head(self.final(x)[torch.arange(len(x)), row]), dim=-1)


class Vision(Tower):
    def __init__(self, config, embed):
        d = config["dModel"]
        n = (config["imageSize"] // config["patchSize"]) ** 2
        super().__init__(config["nLayers"], d, config["nHeads"], n + 1, d**-0.5, embed)
        self.patches = nn.Conv2d(3, d, config["patchSize"], config["patchSize"], bias=False)
        nn.init.normal_(self.patches.weight, std=0.02)
        self.cls, self.pre = nn.Parameter(torch.randn(d) * d**-0.5), nn.LayerNorm(d)

    def forward(self, pixels, kept=None):
        x = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions[1:]
        x = x if kept is None else x[:, kept]
        x = torch.cat([(self.cls + self.positions[0]).expand(len(x), 1, -1), x], 1)
        return self.run(self.pre(x), torch.zeros(len(x), dtype=torch.long))


class Text(Tower):
    def __init__(self, config, vocabulary, end, embed):
        super().__init__(config["nLayers"], config["dModel"], config["nHeads"], config["contextLength"], 0.01, embed)
        self.table, self.end = nn.Parameter(torch.randn(vocabulary, config["dModel"]) * 0.02), end

    def forward(self, tokens):
        return self.run(self.table[tokens] + self.positions, (tokens == self.end).int().argmax(1), causal=True)


def uniform(n, low, high):
    return torch.empty(n, 1, 1, 1).uniform_(low, high)


def ground(n, weights):
    """Of each picture a kind of ground: None for its colours without alpha, else a colour."""
    kinds = np.random.choice(list(weights), n, p=np.array(list(weights.values())) / sum(weights.values()))
    colours = torch.rand(n, 3, 1, 1)
    colours[torch.from_numpy(kinds == "white")] = 1.0
    colours[torch.from_numpy(kinds == "black")] = 0.0
    return colours, torch.from_numpy(kinds == "dropAlpha")[:, None, None, None]


def augment(rgba, how):
    n = len(rgba)
    colours, dropped = ground(n, how["background"])
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    alpha = torch.where(dropped, torch.ones_like(alpha), alpha)
    colours = torch.where(dropped, torch.zeros_like(colours), colours)
    affine = how["affine"]
    angle = torch.empty(n).uniform_(*affine["rotate"]) * math.pi / 180
    scale, aspect = torch.empty(n).uniform_(*affine["scale"]), torch.empty(n).uniform_(*affine["aspect"]).sqrt()
    flip = torch.where(torch.rand(n) < how["flip"]["probability"], -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) / scale / aspect * flip, -torch.sin(angle) / scale / aspect
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) / scale * aspect * flip, torch.cos(angle) / scale * aspect
    theta[:, :, 2] = (torch.rand(n, 2) * 2 - 1) * 2 * torch.tensor(affine["translate"])
    moved = F.grid_sample(torch.cat([rgb * alpha, alpha], 1), F.affine_grid(theta, (n, 4, *rgb.shape[2:]), align_corners=False), align_corners=False)
    x = moved[:, :3] + colours * (1 - moved[:, 3:])
    jitter = how["colorJitter"]
    on = torch.rand(n, 1, 1, 1) < jitter["probability"]
    y = x * uniform(n, *jitter["brightness"])
    grey = lambda v: (v * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    y = grey(y).mean((2, 3), keepdim=True).lerp(y.clamp(0, 1), uniform(n, *jitter["contrast"])).clamp(0, 1)
    y = grey(y).expand_as(y).lerp(y, uniform(n, *jitter["saturation"])).clamp(0, 1)
    x = torch.where(on, y, x)
    x = torch.where(torch.rand(n, 1, 1, 1) < how["grayscale"]["probability"], grey(x).expand_as(x), x)
    erase = how["erase"]
    for i in torch.nonzero(torch.rand(n) < erase["probability"]).flatten().tolist():
        side = round(math.sqrt(np.random.uniform(*erase["area"])) * x.shape[-1])
        top, left = np.random.randint(0, x.shape[-2] - side + 1), np.random.randint(0, x.shape[-1] - side + 1)
        x[i, :, top : top + side, left : left + side] = torch.rand(3, 1, 1)
    return (x - 0.5) / 0.5


def load(index, variants):
    read = lambda file: np.asarray(Image.open(PICTURES / file).convert("RGBA"))
    rows, items, test, test_of = [], [], [], []
    for emoji, entry in enumerate(index):
        for artist, files in entry["pictures"].items():
            if artist == "twemoji":
                test.append(read(files[0]))
                test_of.append(emoji)
            else:
                items.append((emoji, len(rows), len(files)))
                rows.extend(read(file) for file in files)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), items, torch.from_numpy(np.stack(test)).permute(0, 3, 1, 2), torch.tensor(test_of)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default=ROOT / "demo/configs/emoji-clip.yaml")
    parser.add_argument("--tokenizer", default=ROOT / "demo/models/emoji-clip")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    config = yaml.safe_load(Path(args.config).read_text())
    steps, batch = args.steps or config["steps"], config["batchSize"]
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    torch.set_num_threads(args.threads)

    index = json.loads((PICTURES / "index.json").read_text())
    rows, items, test, test_of = load(index, True)
    values = {facet: sorted({entry[facet] for entry in index}) for facet in ("category", "subcategory")}
    label = {facet: torch.tensor([values[facet].index(entry[facet]) for entry in index]) for facet in values}
    captions = [{"name": [e["name"].lower()], "short": [words(s) for s in e["short"]], "keyword": e.get("keywords", [])} for e in index]
    tokenizer = CLIPTokenizer.from_pretrained(args.tokenizer)
    context = config["model"]["text"]["contextLength"]
    held = {}

    def encode(texts):
        for text in texts:
            if text not in held:
                held[text] = tokenizer(text, padding="max_length", truncation=True, max_length=context).input_ids
        return torch.tensor([held[text] for text in texts])

    def caption(emoji):
        found = [(template["text"].replace("{%s}" % key, value), template["weight"] / len(captions[emoji][key]))
                 for template in config["data"]["train"]["captions"]
                 for key in re.findall(r"{(\w+)}", template["text"])[:1] for value in captions[emoji][key]]
        weights = np.array([weight for _, weight in found])
        return found[np.random.choice(len(found), p=weights / weights.sum())][0]

    embed = config["model"]["embeddingSize"]
    vision, text = Vision(config["model"]["vision"], embed), Text(config["model"]["text"], len(tokenizer), tokenizer.eos_token_id, embed)
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    named = [*vision.named_parameters(), *text.named_parameters(), ("log_scale", log_scale)]
    rate, how = config["optimizer"]["learningRate"], config["optimizer"]
    hidden = [p for name, p in named if "blocks" in name and p.ndim == 2]
    is_hidden = {id(p) for p in hidden}
    others = [(name, p) for name, p in named if id(p) not in is_hidden]
    decays = lambda name, p: p.ndim >= 2 and name not in ("positions", "table")
    optimizers = [
        torch.optim.Muon(hidden, lr=rate * how["matrixFactor"], weight_decay=how["weightDecay"], momentum=0.95),
        torch.optim.AdamW([{"params": [p for n, p in others if decays(n, p)], "weight_decay": how["weightDecay"]},
                           {"params": [p for n, p in others if not decays(n, p)], "weight_decay": 0.0}], lr=rate, betas=(0.9, how["beta2"])),
    ]
    warmup = config["schedule"]["warmupSteps"]
    factor = lambda step: (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]

    n_patches = (config["model"]["vision"]["imageSize"] // config["model"]["vision"]["patchSize"]) ** 2
    n_kept = round(n_patches * (1 - config["patchDropout"]))
    began, order = time.time(), []
    for step in range(steps):
        if len(order) < batch:
            order = np.random.permutation(len(items)).tolist()
        chosen, order = [items[i] for i in order[:batch]], order[batch:]
        drawn = [first + (np.random.randint(1, n) if n > 1 and np.random.rand() < config["variantProbability"] else 0) for _, first, n in chosen]
        emoji = torch.tensor([e for e, _, _ in chosen])
        pixels = augment(rows[drawn].float() / 255, config["augment"])
        kept = torch.randperm(n_patches)[:n_kept].sort().values
        asked = [[np.random.choice(q["templates"]).replace("{}", words(value)) for value in values[q["facet"]]] for q in config["textClasses"]]
        image = vision(pixels, kept)
        texts = text(encode([caption(e) for e in emoji.tolist()] + [t for texts in asked for t in texts]))
        own, *classes = texts.split([batch, *(len(texts) for texts in asked)])
        scale = log_scale.exp()
        logits = scale * image @ own.T
        same = (emoji[:, None] == emoji[None]).float()
        loss = config["contrastWeight"] * (F.cross_entropy(logits, same / same.sum(1, keepdim=True)) + F.cross_entropy(logits.T, same / same.sum(1, keepdim=True))) / 2
        for question, of_class in zip(config["textClasses"], classes):
            loss = loss + question["weight"] * F.cross_entropy(scale * image @ of_class.T, label[question["facet"]][emoji], label_smoothing=question["labelSmoothing"])
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            log_scale.clamp_(0, math.log(100))
        if (step + 1) % 500 == 0:
            print(json.dumps({"step": step + 1, "seconds": round(time.time() - began), "loss": round(loss.item(), 4)}), flush=True)

    with torch.inference_mode():
        images = torch.cat([vision((chunk[:, :3].float() / 255 - 0.5) / 0.5) for chunk in test.split(256)])
        result = {"steps": steps, "seed": args.seed, "seconds": round(time.time() - began)}
        for facet in values:
            classes = text(encode([words(value) for value in values[facet]]))
            places = (images @ classes.T).argsort(1, descending=True)
            right = places == label[facet][test_of][:, None]
            result |= {f"{facet}/top1": right[:, :1].any(1).double().mean().item(), f"{facet}/top5": right[:, :5].any(1).double().mean().item()}
        names = torch.cat([text(encode(chunk)) for chunk in np.array_split([captions[e]["name"][0] for e in test_of.tolist()], 16)])
        similarity = images @ names.T
        gold = similarity.diag()
        for name, above in (("imageToText", (similarity > gold[:, None]).sum(1)), ("textToImage", (similarity > gold[None]).sum(0))):
            result |= {f"{name}@{k}": (above < k).double().mean().item() for k in (1, 10)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
