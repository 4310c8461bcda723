"""In which order targets of different weights are asked for: like a shuffled deck of cards, again and again."""

from __future__ import annotations

import math
import random

DECKS = 16  # shuffled one after the other, so that the order does not repeat itself at once


def deck(weights: list[int], seed: int = 0) -> list[int]:
    """Indices of the weights, each as often as its weight says, in an order that is always the same.

    Cards, and not dice: the shares are exact after every deck, so two runs ask for the same.
    """
    divisor = math.gcd(*weights)
    cards = [index for index, weight in enumerate(weights) for _ in range(weight // divisor)]
    if len(cards) == 1:
        return cards
    chance = random.Random(seed)
    shuffled: list[int] = []
    for _ in range(DECKS):
        chance.shuffle(cards)
        shuffled += cards
    return shuffled
