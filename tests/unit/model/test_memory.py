import subprocess
import sys

import torch

from model.memory import peak_resident_bytes
from model.throughput import peak_memory_bytes

ASKED = """
from model.memory import peak_resident_bytes
before = peak_resident_bytes()
held = b"1" * (100 << 20)
print(before, peak_resident_bytes())
"""


def test_the_peak_grows_and_leaves_out_what_the_starting_process_held():
    held = b"1" * (400 << 20)
    told = subprocess.run([sys.executable, "-c", ASKED], stdout=subprocess.PIPE, check=True, text=True).stdout
    before, after = (int(number) for number in told.split())
    assert 1 << 20 < before < after - (90 << 20) < 200 << 20
    assert peak_memory_bytes(torch.device("cpu")) >= peak_resident_bytes() > len(held)
