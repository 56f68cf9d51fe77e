"""Work on volumes block by block."""
