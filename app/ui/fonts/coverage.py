"""Writes src/theme/coverage.rs: which characters all three families can show. Run in this folder: python3 coverage.py"""
from fontTools.ttLib import TTFont


def cmap(name):
    return set(TTFont(f"IBMPlex{name}.ttf").getBestCmap())


mono = cmap("Mono-Regular")
both = sorted((cmap("Sans-Regular") | mono) - set(range(0x80)))  # every family falls back on these two
ranges = []
for c in both:
    if ranges and ranges[-1][1] == c - 1:
        ranges[-1][1] = c
    else:
        ranges.append([c, c])
with open("../src/theme/coverage.rs", "w") as out:
    out.write("//! Which characters beyond ASCII the shipped fonts can show. Made by `fonts/coverage.py`, not by hand.\n\n")
    out.write("/// First and last of each run, ascending.\n")
    out.write(f"pub(super) const RANGES: [(u32, u32); {len(ranges)}] = [\n")
    out.writelines(f"    (0x{first:X}, 0x{last:X}),\n" for first, last in ranges)
    out.write("];\n")
