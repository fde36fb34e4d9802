"""What --picture_processing changes: pixel values of picture files, and greedy answers of the toy models.

    python benchmarks/pictures.py [FILE_OR_FOLDER ...] [--questions 200]

Without files only the toy's pictures are compared: as they are (their sides are whole image tokens, so nothing is resized) and
enlarged to 115 % and 160 %. Pixel values are the model's inputs; about 0.014 is one step of 8 bits.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hint_grpo.machine.stack  # noqa: F401

import argparse
import tempfile
from collections.abc import Iterable, Sequence

import torch
from transformers import Qwen2VLImageProcessor

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.load import load_decoder
from hint_grpo.data.images import open_image
from hint_grpo.data.paths import BadImage
from hint_grpo.data.picture_processing import Pictures
from hint_grpo.data.questions import read_questions
from hint_grpo.families import family_of
from hint_grpo.toy.models import FAMILIES, toy_processor
from hint_grpo.toy.world import World, build_world

ENLARGED = (1.0, 1.15, 1.6)  # factors on the toy's picture sizes
PROCESSINGS = ("processor", "qwen_vl_utils")
NEW_TOKENS = 144  # enough for every answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="pictures, or folders of them")
    parser.add_argument("--questions", type=int, default=200, help="of the toy world")
    arguments = parser.parse_args()
    print(
        "| pictures | number | size differs | mean abs difference | max abs difference |\n|---|---|---|---|---|",
        flush=True,
    )
    for name in arguments.files:
        print(pixel_row(name.name, sorted(name.rglob("*.*")) if name.is_dir() else [name]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        world = build_world(Path(folder), num_train=1, num_test=arguments.questions)
        sets = {factor: enlarged_questions(world, factor) for factor in ENLARGED}
        for factor, requests in sets.items():
            print(pixel_row(f"toy, {factor:.0%}", [Path(str(request.image)) for request in requests]), flush=True)
        print(
            "\n| toy model | scale | pictures | other answers | other first token at (median) |\n|---|---|---|---|---|"
        )
        for family in FAMILIES:
            for line in token_rows(world.models[family], family, sets):
                print(line, flush=True)


def pixel_row(name: str, files: Iterable[Path]) -> str:
    """A table row: how much the model's inputs differ between the two processings, over all readable pictures."""
    processor = toy_processor("Qwen2.5-VL")
    # The limits that Qwen2-VL and Qwen2.5-VL ship with.
    processor.image_processor = Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12845056)
    family = family_of(processor)
    pictures = [Pictures(processor, processing) for processing in PROCESSINGS]
    differences, num_other_size, number = [], 0, 0
    for file in files:
        try:
            pair = [family.image_inputs(each.resized(each.open(str(file)))) for each in pictures]
        except BadImage:
            continue
        number += 1
        if not torch.equal(pair[0]["image_grid_thw"], pair[1]["image_grid_thw"]):
            num_other_size += 1
            continue
        differences.append((pair[0]["pixel_values"] - pair[1]["pixel_values"]).abs().flatten())
    if not differences:
        return f"| {name} | {number} | {num_other_size} | - | - |"
    every = torch.cat(differences)
    return f"| {name} | {number} | {num_other_size} | {every.mean():.5f} | {every.max():.3f} |"


def enlarged_questions(world: World, factor: float) -> list[DecodeRequest]:
    """The toy's test questions with their pictures scaled by `factor`."""
    requests = []
    for question in read_questions(world.test_prompts, world.test_data).questions:
        image = open_image(question.image)
        file = Path(question.image).with_suffix(f".{factor}.png")
        image.resize((round(image.width * factor), round(image.height * factor))).save(file)
        requests.append(DecodeRequest(question.id, question.question, str(file)))
    return requests


def token_rows(model: Path, family: str, sets: dict[float, list[DecodeRequest]]) -> Iterable[str]:
    """Table rows: how many greedy answers differ between the two processings (transformers backend, float32)."""
    decoders = [
        load_decoder(
            model,
            backend="hf",
            batch_size=50,
            max_new_tokens=NEW_TOKENS,
            dtype="float32",
            picture_processing=processing,
        )
        for processing in PROCESSINGS
    ]
    for factor, requests in sets.items():
        for scale in (0.0, 0.8):
            one, other = ({c.id: c.token_ids for c in decoder.decode(requests, scale)} for decoder in decoders)
            places = [first_difference(one[id], other[id]) for id in one if one[id] != other[id]]
            where = str(sorted(places)[len(places) // 2]) if places else "-"
            yield f"| {family} | {scale} | {factor:.0%} | {len(places)} of {len(one)} | {where} |"


def first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """Index of the first token that differs."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


if __name__ == "__main__":
    main()
