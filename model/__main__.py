"""The model layer alone: train on plain text, generate, measure. Neither Prefect nor MLflow is needed.

python -m model train --text book.txt --out my-model
python -m model generate --model my-model --prompt "Once upon a time"
python -m model eval --model my-model --text other.txt
python -m model import --gguf model.gguf --out model
python -m model presets

The folder `model/` can be copied elsewhere and used as it is. All it needs beside Python 3.11:

pip install torch==2.13.0 numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3

and, for `import` alone, gguf==0.19.0. With numba==0.68.1 training and much generation take a third to two thirds of
the time.
"""

import sys

from model.command.main import main

if __name__ == "__main__":
    sys.exit(main())
