"""The package's version, as traces name it."""

VERSION = "0.1.0"
