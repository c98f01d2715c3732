"""The experiment: can a classifier be trained into a layer of a language model, where, and at what cost?"""

__version__ = "0.1.0"
