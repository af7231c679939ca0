"""A model divided over two processes (gloo, this machine): the learning of one process, and checkpoints for any number.

The processes are started by torchrun as `sharded_training.py`, which writes what is compared here.
"""
