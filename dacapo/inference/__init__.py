"""Work with a trained run on whole volumes: opening them, planning within memory, predicting and scoring in blocks."""
