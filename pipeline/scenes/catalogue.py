"""The catalogue: which objects occur in which setting, and how often.

A builder places one object on the ground at its frame and describes it.
"""

from collections.abc import Callable

from t2i_shards.pipeline.scenes.builder import Thing
from t2i_shards.pipeline.scenes.furniture import (
    bench,
    cardboard_box,
    chair,
    couch,
    floor_lamp,
    potted_plant,
    suitcase,
    table,
    vase,
)
from t2i_shards.pipeline.scenes.geometry import Frame
from t2i_shards.pipeline.scenes.outdoor import (
    bush,
    car,
    fire_hydrant,
    house,
    pine,
    rock,
    stop_sign,
    street_sign,
    tent,
    traffic_light,
    tree,
    umbrella,
)
from t2i_shards.pipeline.scenes.rng import Rng
from t2i_shards.pipeline.scenes.solids import ball, cone, cube, cylinder, pyramid, sphere

Builder = Callable[[Rng, Frame], Thing]

ANYWHERE: dict[Builder, float] = {cube: 3, sphere: 2.5, cylinder: 2, cone: 2, pyramid: 1.5, ball: 2}
INDOORS: dict[Builder, float] = {
    **ANYWHERE,
    cardboard_box: 1,
    suitcase: 1,
    chair: 2.5,
    table: 1.5,
    couch: 1.2,
    potted_plant: 2,
    vase: 1.3,
    floor_lamp: 1.3,
}
COUNTRY: dict[Builder, float] = {
    **ANYWHERE,
    tree: 4,
    pine: 3,
    bush: 2.5,
    rock: 2,
    bench: 2,
    tent: 1.2,
    car: 1,
    house: 1,
}
BEACH: dict[Builder, float] = {**ANYWHERE, umbrella: 4, rock: 2, chair: 1, tent: 1, ball: 3, suitcase: 0.5}
TOWN: dict[Builder, float] = {
    **ANYWHERE,
    car: 4,
    bench: 2,
    tree: 2,
    stop_sign: 2,
    street_sign: 1.5,
    traffic_light: 2,
    fire_hydrant: 2,
    suitcase: 0.8,
    cardboard_box: 0.6,
    house: 1,
}

SEATS: tuple[Builder, ...] = (bench, chair, couch)
FRONTED: tuple[Builder, ...] = (stop_sign, street_sign, traffic_light, house, tent)
"""Things that look like nothing from behind."""
