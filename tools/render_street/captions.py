"""Captions of what is really in the picture: counted in the object index pass of the left camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

from .drive import Bystander, Mover
from .vehicles import Car

# Names of scenery objects (what MeshBuilder or place called them) and the noun they count as.
SCENERY = {
    "tree leaves": "trees",
    "shrub": "bushes",
    "hedge": "hedge",
    "lamp": "street lamp",
    "signal": "traffic light",
    "sign": "sign",
    "street name": "sign",
    "house": "buildings",
    "pavement": "sidewalk",
    "road": "street",
    "parked bicycle": "bike",
    "cafe": "parasol",
    "bin": "bin",
    "bollard": "bollards",
    "post box": "post box",
    "column": "advertising column",
}
MIN_SHARE = {
    "trees": 0.01,
    "buildings": 0.02,
    "street": 0.02,
    "sidewalk": 0.01,
    "sign": 0.0004,
    "street lamp": 0.0006,
}


class Labels:
    """Numbers the objects for the index pass and turns pixel counts into words."""

    def __init__(self, parked: Sequence[Car], cast: Sequence[Mover | Bystander]) -> None:
        self.nouns: dict[int, str] = {}
        self.actors: dict[int, Any] = {}
        number = 1
        for noun in sorted(set(SCENERY.values())):
            self.nouns[number] = noun
            for obj in bpy.data.objects:
                stem = obj.name.split(".")[0]
                kind = "sign" if stem.startswith("sign ") else stem
                if SCENERY.get(kind) == noun:
                    obj.pass_index = number
            number += 1
        for actor in [*parked, *(c.actor for c in cast)]:
            self.actors[number] = actor
            for part in actor.parts:
                part.pass_index = number
            number += 1

    def describe(self, index: int, seen: dict[int, int]) -> dict[str, Any]:
        """One row of captions.jsonl: name, caption (a sentence) and tags (nouns)."""
        total = sum(seen.values())
        share = {k: v / total for k, v in seen.items()}
        tags = ["street"]
        actors = sorted(
            ((s, self.actors[k]) for k, s in share.items() if k in self.actors and s > 5e-4),
            key=lambda p: -p[0],
        )
        parked = [a for _, a in actors if a.label.startswith("parked")]
        moving = [a for _, a in actors if isinstance(a, Car) and not a.label.startswith("parked")]
        cyclist = any(a.label == "cyclist" for _, a in actors)
        people = [a for _, a in actors if a.label.startswith("person")]
        if cyclist:
            tags += ["cyclist", "bike"]
        for car in moving:
            noun = "van" if car.kind == "van" else "car"
            for tag in (noun, f"{car.paint} {noun}"):
                if tag not in tags:
                    tags.append(tag)
        if parked:
            tags.append("parked cars")
        if people:
            tags.append("people" if len(people) > 1 else "person")
        scenery = [(share.get(k, 0.0), noun) for k, noun in self.nouns.items()]
        for s, noun in sorted(scenery, reverse=True):
            if s > MIN_SHARE.get(noun, 0.0008) and noun not in tags:
                tags.append(noun)
        sky = share.get(0, 0.0)
        tags += (["sky"] if sky > 0.01 else []) + ["shadow"]

        def car_words(car: Car) -> str:
            return f"a {car.paint} {'van' if car.kind == 'van' else 'car'}"

        ahead = [c for c in moving if c.label in ("lead car", "far car")]
        oncoming = [c for c in moving if c.label.startswith("oncoming")]
        subject = "a cyclist" if cyclist else ""
        if ahead:
            subject += (" behind " if subject else "") + car_words(ahead[0])
        if oncoming and share_of(oncoming[0], actors) > 0.004:
            subject += (
                " and " if subject else ""
            ) + f"an oncoming {oncoming[0].paint} {'van' if oncoming[0].kind == 'van' else 'car'}"
        where = "on a sunny city street"
        what = [w for w, there in (("parked cars", bool(parked)), ("trees", "trees" in tags), ("shops", True)) if there]
        tail = "with " + " and ".join(part for part in (", ".join(what[:-1]), what[-1]) if part)
        if people:
            walkers = "a person walks" if len(people) == 1 else "people walk"
            tail += f" while {walkers} on the sidewalk"
        caption = " ".join(p for p in (subject, where, tail) if p)
        return {
            "source": "sample_street",
            "name": f"{index:06d}",
            "caption": caption.removeprefix("on "),
            "tags": tags,
        }


def share_of(actor: Any, actors: Sequence[tuple[float, Any]]) -> float:
    """The part of the picture that `actor` covers."""
    return sum(s for s, a in actors if a is actor)
