"""What crosses the wire: types and codecs, no I/O."""
