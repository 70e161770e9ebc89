"""Photographs of cricket grounds, made from nothing: for training, calibration and demonstrations."""
