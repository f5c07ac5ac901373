"""Slow versions, written from the definitions with loops alone, that the vectorised code must agree with."""

import math
from fractions import Fraction


def drop_lowest(scores, eligible, fraction, groups=None):
    """One sample's drop list: the ⌈k·n⌉ lowest of n units, never all, ties against the later unit."""
    groups = list(range(len(scores))) if groups is None else groups
    units = []
    for index, free in enumerate(eligible):
        if free and groups[index] not in units:
            units.append(groups[index])
    totals = dict.fromkeys(units, 0.0)
    for index, free in enumerate(eligible):
        if free:
            totals[groups[index]] += scores[index]
    count = min(math.ceil(Fraction(str(fraction)) * len(units)), max(len(units) - 1, 0))
    worst_first = sorted(units, key=lambda unit: (totals[unit], -units.index(unit)))
    dropped = set(worst_first[:count])
    return [bool(free) and groups[index] in dropped for index, free in enumerate(eligible)]


def previous_salient(ids, drop, segments, source, groups=None):
    """One sample's ids: a dropped unit copies the kept unit before it in its segment, else the first kept after."""
    groups = list(range(len(ids))) if groups is None else groups
    result = list(ids)
    for index in range(len(ids)):
        if not drop[index]:
            continue
        inside = [i for i in range(len(ids)) if segments[i] == segments[index] and source[i] and not drop[i]]
        before = [i for i in inside if i < index]
        after = [i for i in inside if i > index]
        if not before and not after:
            continue
        anchor = before[-1] if before else after[0]
        own = [i for i in range(len(ids)) if groups[i] == groups[index]]
        copied = [i for i in range(len(ids)) if groups[i] == groups[anchor]]
        result[index] = ids[copied[min(own.index(index), len(copied) - 1)]]
    return result


def delete(ids, drop, real):
    """One sample's remaining ids."""
    return [token for token, dropped, there in zip(ids, drop, real, strict=True) if there and not dropped]


def top(scores, eligible, fraction):
    """One sample's ⌈q·n⌉ highest eligible features, ties to the earlier."""
    free = [i for i in range(len(scores)) if eligible[i]]
    count = math.ceil(Fraction(str(fraction)) * len(free))
    best = sorted(free, key=lambda i: (-scores[i], i))[:count]
    return [i in best for i in range(len(scores))]
