"""Which version of this package it is: the one place that says so."""

from typing import Final

VERSION: Final = "0.1.0"
