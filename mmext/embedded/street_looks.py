"""How the domains of the rendered streets look: colours, photographs, light, weather, camera."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Colour = tuple[float, float, float]
"""BGR, 0 to 255."""


@dataclass(frozen=True)
class Texture:
    """A photograph as the texture of a surface.

    Attributes:
        photo: File name among scikit-image's data.
        metres: Width of the ground or wall that the photograph's width covers.
        contrast: 0 leaves the surface even, 1 is the photograph's own.
    """

    photo: str
    metres: float
    contrast: float


@dataclass(frozen=True)
class Looks:
    """The looks of a domain.

    Attributes:
        colours: For each surface the colours that its objects have.
        textures: Photographs by surface; surfaces without one are even.
        sky: Colours at the top of the image and at the horizon.
        spread: How much the brightness of objects of one surface differs, as a share.
        light: Factor on each channel, BGR.
        sun: How much darker walls along the street are than those that face the camera.
        fog: Share of the light of a point at 1 m that fog takes away, and its colour.
        night: Whether lamps and windows shine and headlights fall on the road.
        noise: Standard deviation of the camera's noise, of 255.
        blur: Standard deviation of its blur in pixels.
        exposure: Range of a factor on whole images.
        pitch: Range of what the horizon is moved by, in image heights.
        crowd: How many people, poles and cars there are, 1 on average.
    """

    colours: Mapping[str, tuple[Colour, ...]]
    textures: Mapping[str, Texture] = field(default_factory=dict)
    sky: tuple[Colour, Colour] = ((230, 170, 100), (245, 220, 190))
    spread: float = 0.06
    light: Colour = (1.0, 1.0, 1.0)
    sun: float = 0.25
    fog: tuple[float, Colour] = (0.0, (0, 0, 0))
    night: bool = False
    noise: float = 0.0
    blur: float = 0.0
    exposure: tuple[float, float] = (1.0, 1.0)
    pitch: tuple[float, float] = (0.0, 0.0)
    crowd: float = 1.0


_GAME: dict[str, tuple[Colour, ...]] = {
    "road": ((95, 92, 90),),
    "lane": ((245, 245, 245),),
    "sidewalk": ((165, 170, 180),),
    "verge": ((70, 170, 95),),
    "wall": ((70, 95, 190), (120, 165, 215), (185, 160, 140), (90, 130, 150)),
    "window": ((190, 150, 90),),
    "leaves": ((50, 160, 60), (60, 185, 100)),
    "trunk": ((45, 75, 110),),
    "person": ((40, 40, 210), (190, 90, 40), (40, 190, 220), (150, 40, 150)),
    "skin": ((150, 185, 235),),
    "dark": ((45, 40, 40),),
    "car": ((30, 30, 200), (200, 60, 30), (40, 200, 220), (220, 220, 220)),
    "lamp": ((60, 60, 250),),
    "pole": ((130, 130, 130),),
}
_ARCADE: dict[str, tuple[Colour, ...]] = {
    "road": ((95, 70, 85),),
    "lane": ((120, 225, 250),),
    "sidewalk": ((140, 130, 165),),
    "verge": ((60, 130, 150),),
    "wall": ((110, 70, 130), (90, 110, 200), (150, 110, 160), (60, 60, 100)),
    "window": ((120, 200, 250),),
    "leaves": ((60, 110, 120), (40, 90, 150)),
    "trunk": ((50, 60, 90),),
    "person": ((200, 80, 80), (60, 60, 230), (120, 220, 140), (230, 230, 230)),
    "skin": ((120, 160, 220),),
    "dark": ((60, 35, 45),),
    "car": ((160, 40, 120), (60, 140, 230), (200, 190, 60), (70, 50, 60)),
    "lamp": ((80, 80, 255),),
    "pole": ((100, 85, 110),),
}
_REAL: dict[str, tuple[Colour, ...]] = {
    "road": ((112, 110, 108), (96, 96, 98)),
    "lane": ((190, 195, 195),),
    "sidewalk": ((138, 142, 146), (120, 132, 146)),
    "verge": ((62, 92, 90), (70, 105, 112)),
    "wall": ((84, 104, 150), (128, 140, 152), (150, 162, 172), (96, 112, 122), (120, 128, 168)),
    "window": ((92, 82, 72), (70, 62, 58)),
    "leaves": ((38, 78, 64), (46, 92, 88), (34, 60, 56)),
    "trunk": ((48, 58, 70),),
    "person": ((58, 52, 52), (110, 84, 62), (72, 72, 132), (150, 150, 155), (52, 66, 58)),
    "skin": ((120, 145, 190),),
    "dark": ((42, 40, 40),),
    "car": ((52, 50, 50), (150, 148, 146), (92, 58, 44), (48, 44, 110), (190, 190, 190)),
    "lamp": ((70, 70, 170),),
    "pole": ((98, 100, 102), (70, 74, 76)),
}

LOOKS: dict[str, Looks] = {
    "game": Looks(colours=_GAME),
    "arcade": Looks(
        colours=_ARCADE, sky=((150, 90, 120), (110, 170, 250)), light=(0.9, 0.95, 1.05), sun=0.4
    ),
    "day": Looks(
        colours=_REAL,
        textures={
            "road": Texture("gravel.png", 5.0, 0.9),
            "sidewalk": Texture("brick.png", 4.0, 0.8),
            "verge": Texture("grass.png", 5.0, 1.0),
            "wall": Texture("brick.png", 7.0, 1.0),
            "leaves": Texture("grass.png", 6.0, 1.3),
            "car": Texture("coffee.png", 9.0, 0.35),
            "person": Texture("coffee.png", 3.0, 0.5),
            "sky": Texture("hubble_deep_field.jpg", 1.6, 0.05),
        },
        sky=((215, 190, 165), (225, 222, 215)),
        spread=0.2,
        noise=5.0,
        blur=0.45,
        exposure=(0.75, 1.15),
        pitch=(-0.03, 0.05),
    ),
    "fog": Looks(
        colours=_REAL,
        textures={
            "road": Texture("grass.png", 9.0, 0.5),
            "sidewalk": Texture("gravel.png", 4.0, 0.6),
            "verge": Texture("gravel.png", 3.0, 0.9),
            "wall": Texture("gravel.png", 12.0, 0.8),
            "leaves": Texture("gravel.png", 4.0, 1.2),
            "person": Texture("rocket.jpg", 4.0, 0.4),
        },
        sky=((205, 203, 200), (208, 206, 204)),
        spread=0.2,
        light=(0.95, 0.92, 0.9),
        sun=0.05,
        fog=(0.035, (206, 205, 203)),
        noise=4.0,
        blur=0.7,
        exposure=(0.85, 1.1),
        pitch=(-0.04, 0.02),
        crowd=0.8,
    ),
    "night": Looks(
        colours=_REAL,
        textures={
            "road": Texture("brick.png", 5.0, 0.5),
            "sidewalk": Texture("gravel.png", 5.0, 0.6),
            "verge": Texture("grass.png", 4.0, 1.0),
            "wall": Texture("gravel.png", 10.0, 0.9),
            "leaves": Texture("grass.png", 8.0, 1.2),
        },
        sky=((38, 26, 20), (62, 52, 48)),
        spread=0.2,
        light=(0.42, 0.36, 0.34),
        sun=0.1,
        night=True,
        noise=8.0,
        blur=0.5,
        exposure=(0.8, 1.2),
        pitch=(-0.02, 0.04),
        crowd=1.1,
    ),
}
