"""Keeps kerning among ASCII, Latin-1 and punctuation only, in place: python3 kern.py IBMPlexSans-Regular.ttf

Pairs of all other letters are most of what kerning takes, and what the app says is English."""
import sys

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

font = TTFont(sys.argv[1])
cmap = font.getBestCmap()
latin = Subsetter(Options())
latin.glyphs = {glyph for code, glyph in cmap.items() if code < 0x100 or 0x2010 <= code <= 0x203A}
gpos = font["GPOS"].table
kern = {at for record in gpos.FeatureList.FeatureRecord if record.FeatureTag == "kern" for at in record.Feature.LookupListIndex}
for at in kern:
    lookup = gpos.LookupList.Lookup[at]
    lookup.SubTable = [table for table in lookup.SubTable if table.subset_glyphs(latin)]
    lookup.SubTableCount = len(lookup.SubTable)
font.save(sys.argv[1])
