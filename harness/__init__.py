"""Find out which way of training a small reasoning language model really works.

Importing this package loads no torch, sets no environment variable and configures no logging.
"""

__version__ = "0.1.0"
