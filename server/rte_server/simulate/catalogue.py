"""What the shop sells."""

from __future__ import annotations

import random
from dataclasses import dataclass

from rte.wire_events import Value

CURRENCY = "EUR"
SITE = "https://shop.example"

_CATEGORIES: dict[str, tuple[tuple[str, ...], float]] = {
    "shoes": (("Sneaker", "Boot", "Sandal", "Loafer", "Running Shoe"), 75.0),
    "jackets": (("Parka", "Rain Jacket", "Fleece", "Windbreaker", "Down Jacket"), 120.0),
    "kitchen": (("Kettle", "Pan", "Chef's Knife", "Mixer", "Teapot"), 45.0),
    "audio": (("Headphones", "Speaker", "Earbuds", "Turntable", "Microphone"), 130.0),
    "books": (("Novel", "Atlas", "Cookbook", "Travel Guide", "Biography"), 18.0),
    "garden": (("Spade", "Hose", "Planter", "Lantern", "Hammock"), 38.0),
    "toys": (("Puzzle", "Kite", "Board Game", "Robot", "Building Set"), 29.0),
    "sports": (("Yoga Mat", "Dumbbell", "Backpack", "Tent", "Bottle"), 49.0),
}
"""Kinds of products by category, and the category's typical price."""

_BRANDS = ("Alder", "Birke", "Corvo", "Dune", "Elm & Co", "Fjell", "Gado", "Havn")
_LINES = ("Classic", "Light", "Pro", "Trail", "Home", "City", "Mini", "Max")
_PRODUCTS_PER_KIND = 8


@dataclass(frozen=True, slots=True)
class Product:
    """One product.

    Attributes:
        item_id: Its number.
        name: What the page calls it.
        category: Where it stands.
        brand: Who makes it.
        price: Money for one, in CURRENCY.
    """

    item_id: str
    name: str
    category: str
    brand: str
    price: float

    def properties(self, quantity: int = 0) -> dict[str, Value]:
        """Return the item's properties by their GA4 names; a quantity of 0 is left out."""
        found: dict[str, Value] = {
            "item_id": self.item_id,
            "item_name": self.name,
            "item_category": self.category,
            "item_brand": self.brand,
            "price": self.price,
        }
        return {**found, "quantity": quantity} if quantity else found


class Catalogue:
    """The products, by category. A few of them draw most of the interest."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"catalogue:{seed}")
        self.categories = tuple(_CATEGORIES)
        self._products: dict[str, list[Product]] = {}
        for category, (kinds, typical) in _CATEGORIES.items():
            made: list[Product] = []
            for kind in kinds:
                for line in rng.sample(_LINES, _PRODUCTS_PER_KIND):
                    number = f"{category[:2].upper()}-{len(made) + 1:03d}"
                    price = max(1.99, round(typical * rng.lognormvariate(0.0, 0.5)) - 0.01)
                    made.append(Product(number, f"{kind} {line}", category, rng.choice(_BRANDS), round(price, 2)))
            rng.shuffle(made)
            self._products[category] = made

    def pick(self, category: str, rng: random.Random) -> Product:
        """Return a product of a category; the first ones are asked for most, as in any shop."""
        products = self._products[category]
        return products[int(len(products) * rng.random() ** 2.5)]

    def search_term(self, category: str, rng: random.Random) -> str:
        """Return what somebody types who wants something of a category."""
        kinds, _ = _CATEGORIES[category]
        return rng.choice((rng.choice(kinds), f"{rng.choice(_BRANDS)} {rng.choice(kinds)}", category)).lower()
