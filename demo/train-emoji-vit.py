"""Trains `emoji-vit`: a small ViT that names the subcategory (of 98) of an emoji picture.

    npm --prefix demo ci && node demo/pictures.mjs
    python demo/train-emoji-vit.py --out demo/models/emoji-vit

Trained on every artist but Twemoji, tested on Twemoji: the test pictures are by an artist it never saw. Besides the subcategory it learns to
name the emoji itself (a second head, dropped at the end), which ties the artists' drawings of one thing together. The result is saved as
a Hugging Face ViTForImageClassification folder. Needs torch, transformers, pillow, numpy.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification

SIZE = 64
TEST_ARTIST = "twemoji"
PICTURES = Path(__file__).parent / ".pictures"


def read(file):
    return np.asarray(Image.open(PICTURES / file).convert("RGBA"))


def load(index):
    """uint8 pictures, and for each training emoji x artist the rows of its variants (the emoji itself first)."""
    rows, groups, tests = [], [], []
    for identity, entry in enumerate(index):
        for artist, files in entry["pictures"].items():
            if artist == TEST_ARTIST:
                tests.append((read(files[0]), identity))
                continue
            groups.append((identity, range(len(rows), len(rows) + len(files))))
            rows.extend(read(file) for file in files)
    test = np.stack([picture for picture, _ in tests]), np.array([identity for _, identity in tests])
    return torch.from_numpy(np.stack(rows)), groups, test


def on_background(rgba):
    """The picture as the server sees it (alpha dropped), or composited on a random or a white ground."""
    n = len(rgba)
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    ground = torch.rand(n, 3, 1, 1)
    ground[torch.rand(n) < 0.4] = 1.0
    composed = rgb * alpha + ground * (1 - alpha)
    dropped = (torch.rand(n, 1, 1, 1) < 0.55).float()
    return rgb * dropped + composed * (1 - dropped)


def augment(rgba):
    """Background, rotation, scale, shift, flip, colour, erasing. [n, 4, 64, 64] in 0..1 to [n, 3, 64, 64]."""
    x = on_background(rgba)
    n = len(x)
    angle = (torch.rand(n) - 0.5) * 0.6
    scale_x, scale_y = (torch.empty(n).uniform_(0.75, 1.2) for _ in range(2))
    flip = torch.where(torch.rand(n) < 0.3, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * scale_x * flip
    theta[:, 0, 1] = -torch.sin(angle) * scale_x
    theta[:, 1, 0] = torch.sin(angle) * scale_y * flip
    theta[:, 1, 1] = torch.cos(angle) * scale_y
    theta[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.3
    x = F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), padding_mode="border", align_corners=False)

    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * torch.empty(n, 1, 1, 1).uniform_(0.3, 1.6)  # saturation
    x = torch.where(torch.rand(n, 1, 1, 1) < 0.12, x.mean(1, keepdim=True).expand_as(x), x)
    x = x[:, torch.randperm(3)] if torch.rand(()) < 0.1 else x
    contrast, brightness = torch.empty(n, 1, 1, 1).uniform_(0.7, 1.35), torch.empty(n, 1, 1, 1).uniform_(-0.15, 0.15)
    x = ((x - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
    for i in torch.nonzero(torch.rand(n) < 0.3).flatten().tolist():
        side, top, left = torch.randint(8, 24, ()).item(), torch.randint(0, 48, ()).item(), torch.randint(0, 48, ()).item()
        x[i, :, top : top + side, left : left + side] = torch.rand(3, 1, 1)
    return x


def normalise(x):
    return (x - 0.5) / 0.5


def accuracy(model, pictures, targets, categories_of):
    """Top-1 and top-5 over subcategories, top-1 over the categories they imply. Alpha is dropped, as the server does."""
    with torch.inference_mode():
        logits = torch.cat([model(pixel_values=normalise(chunk[..., :3].permute(0, 3, 1, 2).float() / 255)).logits for chunk in pictures.split(256)])
    top5 = logits.topk(5, dim=1).indices
    return {
        "subcategory_top1": (top5[:, 0] == targets).float().mean().item(),
        "subcategory_top5": (top5 == targets[:, None]).any(1).float().mean().item(),
        "category_top1": (categories_of[top5[:, 0]] == categories_of[targets]).float().mean().item(),
        "n": len(targets),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    index = json.loads((PICTURES / "index.json").read_text())
    subcategories = sorted({entry["subcategory"] for entry in index})
    categories = sorted({entry["category"] for entry in index})
    sub_of = torch.tensor([subcategories.index(entry["subcategory"]) for entry in index])
    category_of_sub = {entry["subcategory"]: categories.index(entry["category"]) for entry in index}
    categories_of = torch.tensor([category_of_sub[sub] for sub in subcategories])
    rows, groups, (test_pictures, test_identity) = load(index)
    test_pictures, test_targets = torch.from_numpy(test_pictures), sub_of[torch.from_numpy(test_identity)]
    print(f"{len(rows)} training pictures in {len(groups)} groups, {len(test_pictures)} test pictures, {len(subcategories)} subcategories", flush=True)

    config = ViTConfig(
        hidden_size=128, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512, hidden_act="gelu", layer_norm_eps=1e-6,
        image_size=SIZE, patch_size=8, num_labels=len(subcategories), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(subcategories)), label2id={name: i for i, name in enumerate(subcategories)},
    )
    model = ViTForImageClassification(config)
    identity_head = torch.nn.Linear(config.hidden_size, len(index))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    decayed = [p for p in [*model.parameters(), *identity_head.parameters()] if p.ndim >= 2]
    plain = [p for p in [*model.parameters(), *identity_head.parameters()] if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98))
    warm = min(300, args.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, args.steps - warm)))
    )

    began, order, curve = time.time(), [], []
    for step in range(args.steps):
        while len(order) < args.batch:
            order += np.random.permutation(len(groups)).tolist()
        batch, order = [groups[g] for g in order[: args.batch]], order[args.batch :]
        chosen = [variants[0] if np.random.rand() < 0.6 else variants[np.random.randint(len(variants))] for _, variants in batch]
        identity = torch.tensor([identity for identity, _ in batch])
        x = normalise(augment(rows[chosen].permute(0, 3, 1, 2).float() / 255))

        features = model.vit(pixel_values=x).last_hidden_state[:, 0]
        loss_sub = F.cross_entropy(model.classifier(features), sub_of[identity], label_smoothing=0.1)
        loss_identity = F.cross_entropy(identity_head(features), identity, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        (loss_sub + 0.5 * loss_identity).backward()
        torch.nn.utils.clip_grad_norm_([*model.parameters(), *identity_head.parameters()], 1.0)
        optimizer.step()
        schedule.step()
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - decay)

        if (step + 1) % 300 == 0 or step + 1 == args.steps:
            current = {name: value.clone() for name, value in model.state_dict().items()}
            model.load_state_dict(average)
            scores = accuracy(model, test_pictures, test_targets, categories_of)
            model.save_pretrained(args.out)
            model.load_state_dict(current)
            curve.append({"step": step + 1, "seconds": round(time.time() - began), "loss": round(loss_sub.item(), 4), **scores})
            print(json.dumps(curve[-1]), flush=True)

    out = Path(args.out)
    (out / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": SIZE, "width": SIZE}, "resample": 3,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }, indent=2) + "\n")
    (out / "training.json").write_text(json.dumps({
        "arguments": {"steps": args.steps, "batch": args.batch, "lr": args.lr, "seed": args.seed}, "trainPictures": len(rows), "testArtist": TEST_ARTIST, "curve": curve,
    }, indent=2) + "\n")


if __name__ == "__main__":
    main()
