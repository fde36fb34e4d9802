"""Draws a task's picture. Four times too large, then scaled down: the edges come out smooth.

A grid is 84 x 84 pixels (nine image tokens, one per place), a fan 112 x 84 (twelve).
"""

import math
import random

from PIL import Image, ImageDraw, ImageFont

from hint_grpo.toy.tasks import GRID_SIDE, Fan, Grid

SCALE = 4
PLACE = 28  # pixels per place: two patches of 14, that is one image token
PAINT = {"red": (214, 50, 40), "blue": (45, 85, 205), "green": (40, 155, 75)}
SECTORS = ((245, 170, 150), (150, 185, 245), (160, 225, 170), (240, 220, 140))  # fills of angle AOB, BOC, COD, ..
BANDS = ((255, 246, 214), (255, 255, 255), (226, 238, 248))  # backgrounds of the three rows
INK = (20, 20, 20)
RADIUS = 50.0


def draw(picture: Grid | Fan, rng: random.Random) -> Image.Image:
    """`rng` moves things by a pixel or two, so that no two drawings of one task are the same."""
    return _draw_grid(picture, rng) if isinstance(picture, Grid) else _draw_fan(picture, rng)


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    return image, ImageDraw.Draw(image)


def _shrink(image: Image.Image) -> Image.Image:
    return image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)


def _draw_grid(grid: Grid, rng: random.Random) -> Image.Image:
    side = GRID_SIDE * PLACE
    image, pen = _canvas(side, side)
    for row, band in enumerate(BANDS):
        pen.rectangle([0, row * PLACE * SCALE, image.width, (row + 1) * PLACE * SCALE], fill=band)
    for index, item in enumerate(grid.places):
        if item is None:
            continue
        row, column = divmod(index, GRID_SIDE)
        radius = rng.uniform(8, 11)
        x, y = ((place + 0.5) * PLACE + rng.uniform(-2, 2) for place in (column, row))
        box = [value * SCALE for value in (x - radius, y - radius, x + radius, y + radius)]
        (pen.ellipse if item.shape == "disc" else pen.rectangle)(box, fill=PAINT[item.colour])
    return _shrink(image)


def _draw_fan(fan: Fan, rng: random.Random) -> Image.Image:
    image, pen = _canvas(4 * PLACE, 3 * PLACE)
    x, y = (56 + rng.uniform(-1, 1)) * SCALE, (72 + rng.uniform(-1, 1)) * SCALE
    radius = RADIUS * SCALE
    edges = [0]
    for size in fan.angles:
        edges.append(edges[-1] + size)
    if fan.straight_end:
        edges.append(180)
    arc = [x - 0.8 * radius, y - 0.8 * radius, x + 0.8 * radius, y + 0.8 * radius]
    for fill, start, end in zip(SECTORS, edges, edges[1:], strict=False):  # as many fills as there are sectors
        pen.pieslice(arc, -end, -start, fill=fill)  # Pillow counts clockwise, mathematics the other way
    font = ImageFont.load_default(size=9 * SCALE)
    for letter, degrees in zip("ABCDE", edges, strict=False):
        dx, dy = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
        pen.line([x, y, x + radius * dx, y + radius * dy], fill=INK, width=SCALE + SCALE // 2)
        below = 6 * SCALE if dy > -0.1 else 0  # the letters of the flat rays stand under them
        pen.text((x + (0.97 if below else 1.13) * radius * dx, y + below + 1.13 * radius * dy), letter, INK, font, "mm")
    return _shrink(image)
