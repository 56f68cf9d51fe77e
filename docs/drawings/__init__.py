"""The drawings in ``docs/images`` that are made from the package itself, so that they cannot contradict it.

Each module has a function ``draw`` that returns a drawing. ``python docs/draw.py`` writes all of them.
"""
