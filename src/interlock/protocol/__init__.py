"""What a call is and how it moves: no I/O."""
