"""Photograph-like scenes: textured, lit, overlapping things in front of a background.

All that is random about a picture is drawn first, from a generator keyed by (seed, role, index), into a
`Scene`; `render` is then a pure function of the scene and the wanted side. So a picture does not depend on
which others were drawn, and `look_alike` can move the camera and the things and render the same place again.
Lengths are in units (`textures.LONG_SIDE` along the longer side).
"""

from __future__ import annotations

import colorsys
import importlib.util
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.sample import textures
from copytrace.sample.textures import LONG_SIDE, Colour, Frame, Noise, Plane, Texture

Picture = NDArray[np.uint8]  # [height, width, 3], RGB

SCENE_KINDS = {"outdoor": 0.45, "room": 0.20, "close-up": 0.20, "aerial": 0.15}
SHAPES = {"ellipse": 0.20, "polygon": 0.25, "box": 0.25, "blob": 0.20, "tree": 0.10}
ASPECTS = {"4:3": 0.4, "1:1": 0.35, "3:4": 0.25}
FACE_SHARE = {"training": 0.12, "references": 0.08, "queries": 0.08}

# Photographs that lie in scikit-image's wheel itself (free of rights: see the documentation of skimage.data).
PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "rocket.jpg",
    "coins.png",
    "hubble_deep_field.jpg",
)

# The astronaut's bust in pixels of astronaut.png: outline of hair, cheeks, suit collar and shoulders, and the
# width of the face as dlib's detector sees it there.
_LEFT = [(62, 300), (72, 258), (108, 218), (114, 180), (135, 155), (170, 149), (177, 130), (160, 112)]
_HAIR = [(153, 80), (160, 52), (185, 28), (225, 15), (265, 22), (292, 48), (301, 85), (292, 115), (280, 132)]
_RIGHT = [(265, 150), (262, 176), (285, 195), (303, 225), (306, 243), (335, 255), (351, 288), (354, 300)]
BUST_OUTLINE = np.array([*_LEFT, *_HAIR, *_RIGHT], dtype=np.float64)
BUST_FACE_WIDTH = 90
SMALLEST_FACE = 50  # pixels; with one upsampling the detector finds faces from about 40


@dataclass(frozen=True, eq=False)
class Thing:
    """One object: an outline [n, 2] of radius 1 around the origin, where it stands, what it is made of."""

    shape: str
    outline: NDArray[np.float64]
    x: float
    y: float
    radius: float
    angle: float
    nearness: float
    texture: Texture
    edge: float
    shading: float
    depth: tuple[float, float] | None = None  # where the back of a box appears, relative to its front


@dataclass(frozen=True)
class Light:
    """Everything that changes between two visits to the same place: sun, exposure, lens and sensor."""

    angle: float
    unevenness: float
    field: Noise
    vignette: float
    gains: Colour
    gamma: float
    blur: float
    noise: float
    noise_seed: int


@dataclass(frozen=True)
class Bust:
    """The astronaut's bust standing at the lower edge: centre and face width in units."""

    x: float
    face_width: float
    brightness: float
    mirrored: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """A place, the things in it and the light on it."""

    kind: str
    width: float
    height: float
    surfaces: tuple[Texture, ...]
    sky: tuple[Colour, Colour]
    clouds: Noise
    cloudiness: float
    relief: Noise
    horizon: float
    tilt: float
    things: tuple[Thing, ...]
    light: Light
    bust: Bust | None


# ---------------------------------------------------------------- drawing the parameters


def scene(seed: int, role: str, index: int) -> Scene:
    """The scene number `index` of `role` (any name); the same whatever else is drawn."""
    return draw_scene(runtime.generator(seed, "scene", role, index), FACE_SHARE.get(role, 0.0))


def draw_scene(rng: np.random.Generator, face_share: float = 0.0) -> Scene:
    """A random scene; the astronaut's bust is in `face_share` of those that are not seen from the air."""
    kind = textures.choose(rng, SCENE_KINDS)
    aspect = textures.choose(rng, ASPECTS)
    width, height = {"4:3": (256.0, 192.0), "1:1": (256.0, 256.0), "3:4": (192.0, 256.0)}[aspect]
    hue = textures.draw_hue(rng)
    horizon = float(rng.uniform(0.25, 0.70)) * height
    if kind == "close-up":
        things = [_draw_thing(rng, kind, width, height, horizon, hue) for _ in range(rng.integers(1, 5))]
        things.append(_draw_thing(rng, kind, width, height, horizon, hue, radius=float(rng.uniform(60, 105))))
    else:
        things = [_draw_thing(rng, kind, width, height, horizon, hue) for _ in range(rng.integers(4, 15))]
    surfaces = [textures.draw_texture(rng, hue if rng.random() < 0.35 else None) for _ in range(4)]
    if kind == "outdoor":
        surfaces[1] = replace(surfaces[1], pattern="fractal")  # the far hills: neither dotted nor built
    bust = None
    if rng.random() < face_share and kind != "aerial":
        bust = Bust(
            x=float(rng.uniform(0.3, 0.7)) * width,
            face_width=float(rng.uniform(50, 68)),
            brightness=float(rng.uniform(0.85, 1.1)),
            mirrored=bool(rng.random() < 0.5),
        )
    return Scene(
        kind=kind,
        width=width,
        height=height,
        surfaces=tuple(surfaces),
        sky=_draw_sky(rng),
        clouds=textures.draw_noise(rng, (0.6, 2.0), smooth=True),
        cloudiness=float(rng.uniform(0, 1)),
        relief=textures.draw_noise(rng, (0.8, 2.5), smooth=True),
        horizon=horizon,
        tilt=float(rng.uniform(-0.06, 0.06)),
        things=tuple(sorted(things, key=lambda thing: thing.nearness)),
        light=_draw_light(rng),
        bust=bust,
    )


def _draw_sky(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Colours at the zenith and at the horizon: blue, overcast or evening."""
    weather = rng.random()
    if weather < 0.55:
        hue, saturation, value = rng.uniform(0.54, 0.64), rng.uniform(0.3, 0.8), rng.uniform(0.45, 0.95)
        low = hue, saturation * rng.uniform(0.1, 0.5), min(1.0, value * 1.2)
    elif weather < 0.8:
        hue, saturation, value = rng.uniform(0.5, 0.7), rng.uniform(0, 0.12), rng.uniform(0.5, 0.9)
        low = hue, saturation, min(1.0, value * 1.15)
    else:
        hue, saturation, value = rng.uniform(0.58, 0.85), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)
        low = rng.uniform(0.0, 0.13), rng.uniform(0.4, 0.8), rng.uniform(0.7, 1.0)
    return colorsys.hsv_to_rgb(hue, saturation, value), colorsys.hsv_to_rgb(*low)


def _draw_outline(rng: np.random.Generator, shape: str) -> NDArray[np.float64]:
    """Corners [n, 2] of a shape of radius about 1 around the origin."""
    if shape == "box":
        w, h, skew = rng.uniform(0.5, 0.9), rng.uniform(0.5, 1.0), rng.uniform(-0.25, 0.25)
        return np.array([(-w, -h + skew), (w, -h - skew), (w, h), (-w, h)])
    if shape == "polygon":
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        lengths = rng.uniform(0.6, 1.1, len(turns))
    elif shape == "tree":
        turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        lengths = 0.85 + rng.uniform(-0.3, 0.15, 40) * np.where(np.arange(40) % 2, 1, -0.3)
    elif shape == "blob":
        turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        amplitudes, phases = rng.normal(0, 0.13, 4), rng.uniform(0, 2 * np.pi, 4)
        lengths = 0.85 + (amplitudes[:, None] * np.cos(np.outer(np.arange(1, 5), turns) + phases[:, None])).sum(0)
    else:
        turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        flat = rng.uniform(0.45, 1.0)
        return np.stack([np.cos(turns), flat * np.sin(turns)], axis=1)
    return np.stack([lengths * np.cos(turns), lengths * np.sin(turns)], axis=1)


def _draw_thing(
    rng: np.random.Generator,
    kind: str,
    width: float,
    height: float,
    horizon: float,
    hue: float,
    radius: float | None = None,
) -> Thing:
    """A thing that stands on the ground (outdoor, room) or lies anywhere (close-up, aerial)."""
    shape = textures.choose(rng, SHAPES)
    nearness = float(rng.uniform())
    if radius is None:
        radius = textures.log_uniform(rng, 16, 70)
        radius *= 0.6 + 1.1 * nearness if kind in ("outdoor", "room") else 0.75
    if kind in ("outdoor", "room"):
        y = horizon + nearness * (height - horizon) - 0.5 * radius
        angle = float(rng.normal(0, 0.12)) if shape in ("box", "tree") else float(rng.normal(0, 0.5))
    else:
        y = float(rng.uniform(*((0.25, 0.75) if radius > 60 else (0.05, 0.95)))) * height
        angle = float(rng.uniform(0, 2 * np.pi))
    x = float(rng.uniform(*((0.25, 0.75) if kind == "close-up" and radius > 60 else (-0.02, 1.02))))
    depth = None
    if shape == "box" and kind in ("outdoor", "room"):
        depth = (
            float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)) * radius,
            float(rng.uniform(-0.3, -0.05)) * radius,
        )
    return Thing(
        shape=shape,
        outline=_draw_outline(rng, shape),
        x=x * width,
        y=y,
        radius=radius,
        angle=angle,
        nearness=nearness,
        texture=textures.draw_texture(rng, hue if rng.random() < 0.35 else None),
        edge=float(rng.uniform(0.4, 1.5)),
        shading=float(rng.uniform(0.15, 0.6)),
        depth=depth,
    )


def _draw_light(rng: np.random.Generator) -> Light:
    exposure = float(np.exp(rng.normal(0, 0.15)))
    red, green, blue = (exposure * np.exp(rng.normal(0, spread)) for spread in (0.09, 0.03, 0.10))
    return Light(
        angle=float(rng.uniform(-np.pi, 0)),  # from above
        unevenness=float(rng.uniform(0, 0.5)),
        field=textures.draw_noise(rng, (1.5, 4.0), smooth=True),
        vignette=float(rng.uniform(0, 0.35)),
        gains=(float(red), float(green), float(blue)),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        blur=float(rng.uniform(0, 0.7)),
        noise=float(rng.uniform(0.002, 0.015)),
        noise_seed=int(rng.integers(2**31)),
    )


def look_alike(parameters: Scene, rng: np.random.Generator) -> Scene:
    """Another view of the same scene: camera and things moved, some things gone or new, other light.

    Not a copy: no geometric transformation and no colour change carries one picture into the other.
    """
    shift_x, shift_y = rng.normal(0, 14, 2)
    zoom = float(np.exp(rng.normal(0, 0.1)))
    centre_x, centre_y = parameters.width / 2, parameters.height / 2
    things = []
    for thing in parameters.things:
        if rng.random() < 0.15:
            continue
        moved_x, moved_y = rng.normal(0, 22, 2)
        things.append(
            replace(
                thing,
                x=(thing.x - centre_x) * zoom + centre_x + shift_x + moved_x,
                y=(thing.y - centre_y) * zoom + centre_y + shift_y + moved_y,
                radius=thing.radius * zoom * float(np.exp(rng.normal(0, 0.12))),
                angle=thing.angle + float(rng.normal(0, 0.15)),
                texture=_elsewhere(thing.texture, rng),
            )
        )
    hue = textures.draw_hue(rng)
    for _ in range(rng.integers(0, 3)):
        size = parameters.width, parameters.height, parameters.horizon
        things.append(_draw_thing(rng, parameters.kind, *size, hue))
    horizon = (parameters.horizon - centre_y) * zoom + centre_y + shift_y
    relief = parameters.relief
    return replace(
        parameters,
        surfaces=tuple(_elsewhere(surface, rng) for surface in parameters.surfaces),
        clouds=textures.draw_noise(rng, (0.6, 2.0), smooth=True),
        cloudiness=float(rng.uniform(0, 1)),
        relief=replace(relief, scale=relief.scale * zoom, x=relief.x - shift_x, y=relief.y - shift_y),
        horizon=float(np.clip(horizon, 0.15 * parameters.height, 0.85 * parameters.height)),
        tilt=parameters.tilt + float(rng.normal(0, 0.02)),
        things=tuple(sorted(things, key=lambda thing: thing.nearness)),
        light=_draw_light(rng),
        bust=None,
    )


def _elsewhere(texture: Texture, rng: np.random.Generator) -> Texture:
    """The same material at another place."""
    x, y = rng.uniform(0, textures.FIELD_SIDE, 2)
    grain = replace(texture.grain, x=float(x), y=float(y))
    return replace(texture, grain=grain, mixing=replace(texture.mixing, x=float(y), y=float(x)))


# ---------------------------------------------------------------- rendering


def render(parameters: Scene, side: int) -> Picture:
    """The scene as uint8 [height, width, 3] RGB, its longer side `side` pixels, aspect 4:3, 1:1 or 3:4."""
    unit = side / LONG_SIDE
    whole = Frame(0, 0, round(parameters.width * unit), round(parameters.height * unit), unit)
    canvas = _background(parameters, whole)
    for thing in parameters.things:
        _put_thing(canvas, thing, parameters, whole)
    if parameters.bust is not None:
        _put_bust(canvas, parameters.bust, parameters, whole)
    return _expose(canvas, parameters, whole)


def _background(parameters: Scene, whole: Frame) -> Plane:
    """What lies behind the things: [3, height, width]."""
    x, y = whole.axes()
    if parameters.kind == "close-up":
        # Out of focus, so a quarter of the resolution is enough.
        coarse = Frame(0, 0, max(whole.width // 4, 8), max(whole.height // 4, 8), whole.unit / 4)
        wall = textures.render_texture(parameters.surfaces[0], coarse)
        size = (whole.width, whole.height)
        return np.stack([cv2.resize(cv2.GaussianBlur(p, (0, 0), 1.2), size) for p in wall])
    if parameters.kind == "aerial":
        relief = textures.sample_noise(parameters.relief, whole)
        detail = textures.sample_noise(parameters.clouds, whole)
        fields = textures.render_texture(parameters.surfaces[0], whole)
        for surface, map_, level in zip(
            parameters.surfaces[1:], (relief, detail, relief + 0.4 * detail), (0.48, 0.6, 0.85)
        ):
            share = np.clip((map_ - level) * (60 * whole.unit) + 0.5, 0, 1)
            fields += (textures.render_texture(surface, whole) - fields) * share
        return fields
    line = parameters.horizon + parameters.tilt * (x - parameters.width / 2)  # [1, width]
    if parameters.kind == "room":
        back = textures.render_texture(parameters.surfaces[1], whole)
        back *= 0.75 + 0.25 * np.clip(y / parameters.horizon, 0, 1)
    else:
        back = textures.gradient(*parameters.sky, np.clip(y / parameters.horizon, 0, 1) ** 1.5)
        back = np.repeat(back, whole.width, axis=2)
        clouds = np.clip(
            (textures.sample_noise(parameters.clouds, whole) - 0.75 + 0.4 * parameters.cloudiness) * 3, 0, 1
        )
        back += (0.95 - back) * (0.85 * clouds)
        strip = Frame(0, whole.height // 2, whole.width, 1, whole.unit)
        ridge = line - 70 * np.maximum(textures.sample_noise(parameters.relief, strip) - 0.35, 0)
        far = textures.render_texture(parameters.surfaces[1], whole)
        far += (np.array(parameters.sky[1], np.float32)[:, None, None] - far) * 0.45  # haze
        back += (far - back) * np.clip((y - ridge) * whole.unit + 0.5, 0, 1)
    # The ground, in perspective; its vanishing line lies above the horizon's edge, which hides it.
    top = min(max(int(line.min() * whole.unit), 0), whole.height - 2)
    below = parameters.height - parameters.horizon
    rise = 10 + 0.12 * below
    eye = below + rise
    floor = (eye, 1.5 * eye, parameters.width / 2, parameters.horizon - rise)
    ground = textures.render_texture(
        parameters.surfaces[0], Frame(0, top, whole.width, whole.height - top, whole.unit, floor)
    )
    depth = np.clip((y[top:] - line) / below, 0, 1)
    if parameters.kind == "outdoor":
        ground += (np.array(parameters.sky[1], np.float32)[:, None, None] - ground) * (0.4 * (1 - depth) ** 3)
    ground *= 0.6 + 0.4 * depth
    rows = back[:, top:]
    rows += (ground - rows) * np.clip((y[top:] - line) * whole.unit + 0.5, 0, 1)
    return back


def _put_thing(canvas: Plane, thing: Thing, parameters: Scene, whole: Frame) -> None:
    """Draw a thing, its shading and its shadow into `canvas` [3, height, width]."""
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    outline = thing.outline @ np.array([(c, s), (-s, c)]) * thing.radius + (thing.x, thing.y)
    frame = textures.bounding_frame(outline, whole, margin=18 if thing.depth is None else 0.45 * thing.radius)
    if frame is None:
        return
    light = np.array([np.cos(parameters.light.angle), np.sin(parameters.light.angle)])
    rectangle = canvas[:, frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    rectangle *= 1 - 0.45 * textures.shape_mask(outline - 8 * light, frame, blur=4)
    surface = textures.render_texture(thing.texture, frame)
    x, y = frame.axes()
    x, y = (
        (x - np.float32(thing.x)) / np.float32(thing.radius),
        (y - np.float32(thing.y)) / np.float32(thing.radius),
    )
    shade = 1 + np.float32(thing.shading) * (np.float32(light[0]) * x + np.float32(light[1]) * y)
    if thing.shape in ("ellipse", "blob", "tree"):  # round things darken towards their edge
        shade -= np.float32(0.7 * thing.shading) * (x * x + y * y)
    surface *= np.clip(shade, 0.15, 1.8)
    if parameters.kind == "outdoor":
        haze = np.float32(0.35 * (1 - thing.nearness) ** 2)
        surface += (np.array(parameters.sky[1], np.float32)[:, None, None] - surface) * haze
    if thing.depth is not None:  # the faces of a box that look away from the light
        both = np.concatenate([outline, outline + thing.depth])
        solid = both[cv2.convexHull(both.astype(np.float32), returnPoints=False)[:, 0]]
        rectangle += (0.6 * surface - rectangle) * textures.shape_mask(solid, frame, blur=thing.edge)
    surface -= rectangle
    surface *= textures.shape_mask(outline, frame, blur=thing.edge)
    rectangle += surface


@lru_cache(maxsize=1)
def _bust() -> tuple[Plane, Plane]:
    """Columns 60 … 359 of the photograph: colours [3, 300, 300] in 0 … 1 and the bust's mask [300, 300]."""
    pixels = load_photograph(PHOTOGRAPHS[0])[:300, 60:360].astype(np.float32) / np.float32(255)
    mask = textures.shape_mask(BUST_OUTLINE, Frame(60, 0, 300, 300, 1.0), blur=2.5)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), mask


def _put_bust(canvas: Plane, bust: Bust, parameters: Scene, whole: Frame) -> None:
    """Blend the bust in, upright, standing on the lower edge (its head stays inside)."""
    colours, mask = _bust()
    scale = max(bust.face_width * whole.unit, SMALLEST_FACE) / BUST_FACE_WIDTH
    size = round(300 * scale)
    left = round(bust.x * whole.unit - size / 2)
    top = max(whole.height - size, 2)
    matrix = np.array([[scale, 0, left], [0, scale, top]])
    if bust.mirrored:
        matrix[0] = -scale, 0, left + size
    shape = whole.width, whole.height
    share = cv2.warpAffine(mask, matrix, shape, flags=cv2.INTER_AREA)
    for plane, colour in zip(canvas, colours):
        plane += (cv2.warpAffine(colour, matrix, shape, flags=cv2.INTER_AREA) * bust.brightness - plane) * share


@lru_cache(maxsize=1)
def _sensor_noise() -> Plane:
    """White noise [3, 512, 512], drawn once for all scenes."""
    return np.random.default_rng([1987, 1]).standard_normal((3, 512, 512), dtype=np.float32)


def _expose(canvas: Plane, parameters: Scene, whole: Frame) -> Picture:
    """Light, vignette, colour temperature, gamma, lens blur, sensor noise: [3, h, w] to uint8 [h, w, 3]."""
    light = parameters.light
    coarse = Frame(0, 0, max(whole.width // 8, 8), max(whole.height // 8, 8), whole.unit / 8)
    field = 1 + light.unevenness * 2 * (textures.sample_noise(light.field, coarse) - 0.5)
    x, y = coarse.axes()
    radius = ((x / parameters.width - 0.5) ** 2 + (y / parameters.height - 0.5) ** 2) * 2
    field *= 1 - np.float32(light.vignette) * radius
    canvas *= cv2.resize(field, (whole.width, whole.height), interpolation=cv2.INTER_CUBIC)
    exposure = (0.4 / max(float(canvas.mean()), 0.02)) ** 0.6  # what a camera's automatic would do, in part
    canvas *= np.array(light.gains, np.float32)[:, None, None] * np.float32(exposure)
    np.clip(canvas, 0, 1, out=canvas)
    cv2.pow(canvas, light.gamma, dst=canvas)
    noise = _sensor_noise()
    rng = np.random.default_rng(light.noise_seed)
    down, right = rng.integers(0, 512, 2)
    rows, columns = (np.arange(whole.height) + down) % 512, (np.arange(whole.width) + right) % 512
    picture = np.empty((whole.height, whole.width, 3), np.uint8)
    for channel, plane in enumerate(canvas):
        if light.blur * whole.unit > 0.25:
            plane = cv2.GaussianBlur(plane, (0, 0), light.blur * whole.unit)
        plane = plane * 255
        plane += noise[channel][rows[:, None], columns] * np.float32(255 * light.noise)
        picture[..., channel] = np.clip(np.rint(plane), 0, 255)
    return picture


# ---------------------------------------------------------------- photographs


def load_photograph(name: str) -> Picture:
    """A photograph of scikit-image's wheel as RGB [height, width, 3], without importing the package.

    Raises InputError if the installed scikit-image has no such file.
    """
    package = importlib.util.find_spec("skimage")
    path = (
        Path(package.submodule_search_locations[0], "data", name)
        if package and package.submodule_search_locations
        else None
    )
    if path is None or not path.is_file():
        raise InputError(f"scikit-image's photograph {name} is not installed: install scikit-image from its wheel.")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def photograph(name: str, side: int) -> Picture:
    """The same with its longer side `side` pixels."""
    pixels = load_photograph(name)
    scale = side / max(pixels.shape[:2])
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def photograph_positions(seed: int, references: int) -> dict[int, str]:
    """Which references are photographs instead of scenes: index → name; at most one in eight."""
    count = min(len(PHOTOGRAPHS), references // 8)
    places = runtime.generator(seed, "photographs", references).choice(references, count, replace=False)
    return {int(place): PHOTOGRAPHS[number] for number, place in enumerate(places)}
