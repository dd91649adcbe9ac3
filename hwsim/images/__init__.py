"""Data files -> images and labels: images() finds out what a DATA is, ImageSet hands it out as a network takes it."""

from hwsim.images.image_set import Image, ImageSet
from hwsim.images.open import images

__all__ = ["Image", "ImageSet", "images"]
