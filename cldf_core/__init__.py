"""Continual learning for deepfake detection on frequency spectra.

The method is in this package's top level and can be read on its own: options, spectrum, resnet, buffers, agents,
stream, protocol. `data` finds images, `runs` keeps results, `cli` is the command.
"""

__version__ = "0.1.0"
