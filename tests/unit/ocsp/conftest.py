"""Fuzzing without a time limit per example: test machines may be busy."""

from hypothesis import settings

settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
