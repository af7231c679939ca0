"""The command line: options, and how an answer or a mistake is told. See model/__main__.py for examples."""

import argparse
import errno
import io
import json
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from model.command import recipe, text
from model.command.prompts import FORMS as PROMPTS
from model.errors import ModelError
from model.questions import FORMS

DONE, FAILED, INTERRUPTED = 0, 1, 130
TOLD_ALREADY = ("generate", "presets")  # commands that print what they find themselves
LEARNING = ("train", "find-lr")  # commands that take a recipe
MODULES = {"import": "import_gguf"}  # whose command is no name that Python allows
FULL = {errno.ENOSPC, errno.EDQUOT}


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="python -m model",
        description="Train a language model on plain text, let it write, measure it.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong options, 130 stopped by Ctrl-C (run again to go on)",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    _train(commands)
    _generate(commands)
    _eval(commands)
    _import(commands)
    _presets(commands)
    _find_lr(commands)
    return top


def _command(commands: Any, name: str, about: str, epilog: str, computes: bool = True) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + ".", epilog=epilog, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    added.add_argument("--json", action="store_true", help="print the result as one JSON object")
    if not computes:
        return added
    added.add_argument("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda, cuda:1 …")
    threads = recipe.whole(1, recipe.MOST_THREADS)
    added.add_argument("--threads", type=threads, metavar="N", help="processor threads (default: all)")
    return added


def _train(commands: Any) -> None:
    example = (
        "  python -m model train --text book.txt --out my-model\n"
        "  python -m model train --text stories.txt --document-separator '<|endoftext|>' --preset test --out tales\n"
        "  python -m model train --text notes/*.md --one-document-per-file --hidden-size 192 --steps 5000 --out notes\n"
        "  torchrun --standalone --nproc-per-node=2 -m model train --shard --text book.txt --out my-model"
    )
    added = _command(
        commands, "train", "learn from text files; run again after a kill or Ctrl-C, it goes on from its checkpoint",
        f"{recipe.PRESETS_HELP}\n\nexamples:\n{example}",
    )  # fmt: skip
    text.add_options(added)
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the model")
    added.add_argument("--preset", choices=list(recipe.PRESETS), default="small", help="sizes and budget, see below")
    recipe.add_options(added)
    added.add_argument(
        "--compile", action="store_true", help="torch.compile: faster after about a minute (needs a C++ compiler)"
    )
    added.add_argument(
        "--activation-checkpointing", action="store_true", help="less memory, for about a third more time"
    )
    added.add_argument(
        "--shard", action="store_true", help="torchrun's processes divide the model, instead of each holding all of it"
    )
    added.add_argument(
        "--checkpoint-seconds", type=recipe.number, default=30.0, metavar="N", help="time between checkpoints (30)"
    )
    added.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _generate(commands: Any) -> None:
    example = (
        '  python -m model generate --model my-model --prompt "Once upon a time" --greedy\n'
        '  python -m model generate --model my-model --prompt "Once upon a time" --temperature 0.8 --seed 7\n'
        "  python -m model generate --model my-chat-model --chat --prompts questions.jsonl --json > answers.jsonl"
    )
    added = _command(commands, "generate", "go on writing from prompts", f"{PROMPTS}\n\nexamples:\n{example}")
    _model(added)
    added.add_argument(
        "--prompt", action="append", default=[], metavar="TEXT",
        help="what to go on from (default: a new document); may be given again",
    )  # fmt: skip
    added.add_argument("--prompts", type=Path, metavar="FILE", help="many prompts, see below")
    _chat(added)
    added.add_argument(
        "--max-new-tokens", type=recipe.whole(1), metavar="N", help="default: 200, or as many as the model can hold"
    )
    drawn = added.add_mutually_exclusive_group()
    drawn.add_argument("--greedy", action="store_true", help="always the likeliest token, instead of drawing one")
    drawn.add_argument(
        "--temperature", type=_temperature, default=1.0, metavar="N", help="below 1 likelier tokens only (1.0)"
    )
    added.add_argument("--top-k", type=recipe.whole(1), metavar="N", help="draw among the N likeliest tokens")
    added.add_argument("--top-p", type=recipe.above_zero, metavar="N", help="draw among the likeliest up to this share")
    added.add_argument(
        "--repetition-penalty",
        type=recipe.above_zero,
        default=1.0,
        metavar="N",
        help="above 1: against repetition (1.0)",
    )
    _stop(added, "stop once this was written; may be given again")
    added.add_argument(
        "--seed", type=recipe.whole(0), metavar="N",
        help="the same seed, the same text (0); of the first prompt, the next ones count up",
    )  # fmt: skip
    added.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="fp32",
        help="of matrix products (fp32); auto: bf16 where fast",
    )  # fmt: skip


def _temperature(text: str) -> float:
    if recipe.number(text) == 0:
        raise argparse.ArgumentTypeError("0 would be the likeliest token always: use --greedy for it")
    return float(text)


def _eval(commands: Any) -> None:
    example = (
        "  python -m model eval --model my-model --text unseen.txt --json\n"
        "  python -m model eval --model my-model --choices exam.jsonl\n"
        "  python -m model eval --model my-model --questions quiz.jsonl --chat"
    )
    added = _command(
        commands, "eval", "measure bits per byte on text files, or the share of right answers to questions",
        f"{FORMS}\n\nexamples:\n{example}",
    )  # fmt: skip
    _model(added)
    text.add_options(added, required=False)
    kind = added.add_mutually_exclusive_group()
    kind.add_argument("--choices", type=Path, metavar="FILE", help="JSONL: is the right one of several the likeliest?")
    kind.add_argument("--questions", type=Path, metavar="FILE", help="JSONL: does the model write the right answer?")
    _chat(added)
    added.add_argument("--max-new-tokens", type=recipe.whole(1), metavar="N", help="longest answer to --questions (32)")
    _stop(added, "answers to --questions end before this; may be given again")
    added.add_argument(
        "--context-length",
        type=recipe.whole(1),
        metavar="N",
        help="tokens of --text read at once (default: all it can)",
    )
    added.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"],
        help="of matrix products; auto: bf16 where fast (default: auto, of --questions fp32)",
    )  # fmt: skip
    added.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _import(commands: Any) -> None:
    example = "  python -m model import --gguf SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2"
    added = _command(
        commands, "import", "turn a GGUF file into a model directory", f"examples:\n{example}", computes=False
    )
    added.add_argument("--gguf", type=Path, required=True, metavar="FILE", help="model as llama.cpp reads it")
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder for the model")


def _presets(commands: Any) -> None:
    example = "  python -m model presets --json"
    _command(commands, "presets", "what each preset costs, as a table", f"examples:\n{example}", computes=False)


def _model(added: argparse.ArgumentParser) -> None:
    added.add_argument("--model", type=Path, required=True, metavar="DIR", help="model directory")


def _chat(added: argparse.ArgumentParser) -> None:
    added.add_argument("--chat", action="store_true", help="put a prompt as a user's turn, not as a text's beginning")


def _find_lr(commands: Any) -> None:
    example = "  python -m model find-lr --text book.txt --preset test --plot rates.svg"
    added = _command(
        commands, "find-lr", "find a learning rate for a text and a model, by a short training at growing rates",
        f"{recipe.PRESETS_HELP}\n\nexamples:\n{example}",
    )  # fmt: skip
    text.add_options(added)
    added.add_argument("--preset", choices=list(recipe.PRESETS), default="small", help="the model, see below")
    recipe.add_options(added)
    added.add_argument("--highest", type=recipe.above_zero, default=1.0, metavar="N", help="last rate tried (1.0)")
    added.add_argument("--test-steps", type=recipe.whole(20), default=100, metavar="N", help="steps of the test (100)")
    added.add_argument("--plot", type=Path, metavar="FILE", help="draw the curve as SVG")
    added.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _stop(added: argparse.ArgumentParser, about: str) -> None:
    added.add_argument("--stop", action="append", type=text.meant, default=[], metavar="TEXT", help=about)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    if sys.stdout is None:  # closed by the shell
        sys.stdout = io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where it is set to an encoding that lacks a character
    options = parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("model").setLevel(logging.WARNING if getattr(options, "quiet", False) else logging.INFO)
    try:
        # PyTorch takes seconds to import, and --help needs none of it.
        module = MODULES.get(options.command, options.command.replace("-", "_"))
        answer = import_module(f"model.command.{module}").run(options)
        if not answer:
            pass  # one of several processes: the first tells
        elif options.json:
            print(json.dumps(answer, indent=2))
        elif options.command not in TOLD_ALREADY:
            print("\n".join(_told(answer)))
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        former = interrupt.__context__  # an error that was being dealt with
        reason = explain(former, options.command) if isinstance(former, Exception) else None
        if reason:
            print(f"error: {reason}", file=sys.stderr)
        print("\ninterrupted; run the same command again", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        reason = explain(error, options.command)
        if reason is None:
            raise
        print(f"error: {reason}" if reason else str(error), file=sys.stderr)
        return INTERRUPTED if type(error).__name__ == "TrainingStopped" else FAILED
    return DONE


def explain(error: Exception, about: str) -> str | None:
    """What to tell a person about an error of the command `about`, or None where it is a fault of the program. Empty:
    it is no error."""
    kind = type(error).__name__  # those that come with PyTorch are known by name, so as not to import it
    if kind == "TrainingStopped":
        return ""
    full = isinstance(error, OSError) and error.errno in FULL
    if full or (kind == "SafetensorError" and ("No space left" in str(error) or "StorageFull" in str(error))):
        on = " (a training goes on from its last checkpoint)" if about == "train" else ""
        return f"the disk is full: free some and run the same command again{on}"
    remedy = "end other programs, or use a smaller model"
    if about in LEARNING:
        remedy = "lower --hidden-size, --batch-size or --context-length, or raise --accumulation"
    if kind == "OutOfMemoryError":
        return f"the GPU's memory is full: {remedy}"
    if isinstance(error, MemoryError) or (kind == "RuntimeError" and "can't allocate memory" in str(error)):
        return f"memory is full: {remedy}"
    if isinstance(error, ModuleNotFoundError) and error.name == "gguf":
        return "reading GGUF needs one more package: pip install gguf==0.19.0"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, ModelError) or kind in ("NonFiniteLoss", "CheckpointMismatch"):
        return str(error)
    return None


def _told(answer: dict[str, Any]) -> list[str]:
    """The answer as lines of name and value."""
    lines = []
    for name, value in answer.items():
        shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        lines.append(f"{name.replace('_', ' '):22} {shown}")
    return lines
