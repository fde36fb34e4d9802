"""The measurements behind every speed and memory figure that the README quotes."""
