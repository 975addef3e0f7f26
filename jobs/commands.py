"""All commands, and how one is read from the command line. Importing this takes seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from t2i_shards.jobs.command import Command
from t2i_shards.jobs.config_file import CONFIG, add_config
from t2i_shards.jobs.convert_adapter import ConvertAdapterCommand
from t2i_shards.jobs.demo import DemoCommand
from t2i_shards.jobs.erase import EraseCommand
from t2i_shards.jobs.evaluate import EvaluateCommand
from t2i_shards.jobs.extract import ExtractCommand
from t2i_shards.jobs.find import FindCommand
from t2i_shards.jobs.generate import GenerateCommand
from t2i_shards.jobs.help import HELP, print_command, print_commands
from t2i_shards.jobs.ingest import IngestCoco, IngestFolder, IngestLaion, IngestScenes, IngestTable, IngestTars
from t2i_shards.jobs.messages import take_file
from t2i_shards.jobs.mini_weights import MiniWeightsCommand
from t2i_shards.jobs.mini_weights.base import MiniBaseCommand
from t2i_shards.jobs.miniature import MiniatureCommand
from t2i_shards.jobs.publish import PublishCommand
from t2i_shards.jobs.rehydrate import RehydrateCommand
from t2i_shards.jobs.remove import RemoveCommand
from t2i_shards.jobs.report import ReportCommand
from t2i_shards.jobs.status import StatusCommand
from t2i_shards.jobs.train import TrainCommand
from t2i_shards.jobs.value_types import VALUE_TYPES
from t2i_shards.jobs.verify import VerifyCommand
from t2i_shards.jobs.weights import WeightsCommand
from t2i_shards.jobs.words import CommandLineError, refuse_empty_paths, refuse_in_one_line, refuse_not_utf8
from t2i_shards.pipeline.errors import RequestError

COMPLETION = "--tyro-write-completion"
SHELLS = ("bash", "zsh", "fish")
ABOUT = "Pictures into WebDataset shards with T2I-Adapter conditions, and adapters trained from them."


@dataclass(frozen=True)
class IngestCommand:
    """Plan a dataset from a source of pictures, and fill its images column."""

    source: (
        Annotated[IngestScenes, subcommand("scenes")]
        | Annotated[IngestFolder, subcommand("folder")]
        | Annotated[IngestTars, subcommand("tars")]
        | Annotated[IngestTable, subcommand("table")]
        | Annotated[IngestCoco, subcommand("coco")]
        | Annotated[IngestLaion, subcommand("laion")]
    )


Commands = (
    Annotated[DemoCommand, subcommand("demo")]
    | Annotated[IngestCommand, subcommand("ingest")]
    | Annotated[ExtractCommand, subcommand("extract")]
    | Annotated[StatusCommand, subcommand("status")]
    | Annotated[VerifyCommand, subcommand("verify")]
    | Annotated[ReportCommand, subcommand("report")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[GenerateCommand, subcommand("generate")]
    | Annotated[EvaluateCommand, subcommand("evaluate")]
    | Annotated[ConvertAdapterCommand, subcommand("convert-adapter")]
    | Annotated[PublishCommand, subcommand("publish")]
    | Annotated[FindCommand, subcommand("find")]
    | Annotated[RemoveCommand, subcommand("remove")]
    | Annotated[EraseCommand, subcommand("erase")]
    | Annotated[RehydrateCommand, subcommand("rehydrate")]
    | Annotated[WeightsCommand, subcommand("weights")]
    | Annotated[MiniWeightsCommand, subcommand("mini-weights")]
    | Annotated[MiniBaseCommand, subcommand("mini-base")]
    | Annotated[MiniatureCommand, subcommand("miniature")]
)


def _find_kind(arguments: Sequence[str]) -> tuple[str, Any]:
    """Name of the command that the first words ask for, such as "ingest folder", and its dataclass.

    Or the union of those that may follow, where the next word asks for help or a completion script.

    CommandLineError, with the command that was probably meant, where they name none.
    """
    commands: Any = Commands
    before = ""
    for word in (*arguments, ""):
        known = _by_name(commands)
        if word in HELP or word.startswith("--tyro-"):
            return before.rstrip(), commands
        if word.startswith("-") and (named := next((each for each in arguments if each in known), None)):
            way = "leave it out" if word == "--" else f"write it after {before}{named}"
            raise CommandLineError(f"{word} must not be before the command; {way}")
        if not word or word.startswith("-"):
            raise CommandLineError(
                f"{before or 't2i-shards '}must be followed by one of {', '.join(known)}; --help describes them"
            )
        if word not in known:
            near = get_close_matches(word, known, 1)
            hint = f"did you mean {before}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise CommandLineError(f"no command is called {before + word!r}; {hint}")
        before += f"{word} "
        if (inner := _subcommands_of(known[word])) is None:
            return before.rstrip(), known[word]
        commands = inner
    raise AssertionError("the last word is none")


def _by_name(commands: Any) -> dict[str, type[Any]]:
    """The dataclasses of a union of commands."""
    return {get_args(command)[1].name: get_args(command)[0] for command in get_args(commands)}


def _print_help(name: str, kind: Any) -> None:
    """kind: of the command of this name, or the union of those that may follow it."""
    if is_dataclass(kind):
        print_command(name, kind)  # type: ignore[arg-type]  # a type, not one of its objects
        return
    of = _by_name(Commands).get(name)
    print_commands(f"t2i-shards {name}".rstrip(), of.__doc__ or "" if of else ABOUT, _by_name(kind))


def _subcommands_of(kind: type[Any]) -> Any:
    """The union of the commands that a command is divided into, or None."""
    (only, *more) = fields(kind)
    union = get_type_hints(kind, include_extras=True)[only.name]
    return None if more or get_origin(union) not in (Union, UnionType) else union


def parse_command(arguments: Sequence[str]) -> Command:
    """The command that the arguments name. Ends the process after --help.

    Raises RequestError where they name none, or break a rule of its options.
    """
    file, arguments = take_file(arguments, CONFIG)
    _prepare_completion(arguments)
    name, asked = _find_kind(arguments)
    if {*HELP} & {*arguments}:
        _print_help(name, asked)
        raise SystemExit(0)
    kind: type[Any] | None = asked if is_dataclass(asked) else None  # type: ignore[assignment]  # not an object
    after = len(name.split())
    if file and kind:
        arguments = [*arguments[:after], *add_config(file, name, kind, arguments[after:])]
    if kind:
        refuse_empty_paths(kind, arguments[after:])
        refuse_not_utf8(name, kind, arguments[after:])
    with VALUE_TYPES, refuse_in_one_line(name, kind, arguments[after:]), join_descriptions():
        command = tyro.cli(
            Commands,  # type: ignore[arg-type]
            prog="t2i-shards",
            args=list(arguments),
            config=(OmitArgPrefixes, OmitSubcommandPrefixes, FlagCreatePairsOff),
        )
    _check_numbers(command)
    if isinstance(command, IngestCommand):
        return command.source
    return command.action if isinstance(command, WeightsCommand) else command


@contextmanager
def join_descriptions() -> Iterator[None]:
    """In the block tyro, which describes options in a completion script, reads each description as one paragraph.

    It would begin a new line at every indented line of a docstring.
    """
    parse = docstring_parser.parse_from_object

    def parse_joined(documented: Any) -> docstring_parser.Docstring:
        found = parse(documented)
        for of in found.params:
            of.description = of.description and " ".join(of.description.split())
        return found

    docstring_parser.parse_from_object = parse_joined  # type: ignore[assignment]  # tyro gives no style
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse


def _prepare_completion(arguments: Sequence[str]) -> None:
    """Make the folder of a shell's script before tyro writes it. RequestError where it cannot be written."""
    if arguments[:1] and arguments[0].startswith("--tyro-") and not {*arguments[1:2]} & {*SHELLS}:
        raise RequestError(f"{arguments[0]} must be followed by one of {', '.join(SHELLS)}")
    if list(arguments[:1]) != [COMPLETION] or len(arguments) < 3:
        return
    script = Path(arguments[2])
    try:
        script.parent.mkdir(parents=True, exist_ok=True)
        script.open("a").close()
    except OSError as error:
        raise RequestError(
            f"{COMPLETION} must name a file that can be written, not {script}: {error.strerror}"
        ) from None


def _check_numbers(options: Any) -> None:
    """RequestError for an option that is inf or nan, which pass rules since every comparison with nan is false, or
    a whole number of more than 64 bits, which files and generators of random numbers cannot hold."""
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            _check_numbers(value)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise RequestError(f"--{field.name.replace('_', '-')} must be a finite number, not {number}")
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise RequestError(f"--{field.name.replace('_', '-')} must fit into 64 bits, not {number}")
