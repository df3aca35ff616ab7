"""`gemwright chat`: a conversation in the terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemwright.cli import options, show
from gemwright.errors import UserError
from gemwright.paths import probe

if TYPE_CHECKING:
    from gemwright.cli.conversation import Conversation
    from gemwright.engine.pictures import Shown
    from gemwright.text.tokenizer import Tokenizer

HELP = """\
/image FILE    show a picture with the next message
/system TEXT   begin anew with this instruction
/adapter NAME  go on with this adapter; without a name, with none
/clear         begin anew
/save FILE     keep the conversation in a file
/load FILE     go on with the conversation of a file
/stats         tokens, speed and cache
/help          this list
/exit          leave (or Ctrl-D)
Ctrl-C ends a reply. A line that ends in \\ goes on in the next one."""


def run(
    model: options.Model = "pocket",
    system: Annotated[str | None, typer.Option(help="What the model is told first.", show_default=False)] = None,
    max_tokens: options.MaxTokens = 0,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repetition_penalty: options.Penalty = None,
    seed: options.Seed = None,
    image: options.Images = None,
    pan_scan: options.PanScan = False,
    session: Annotated[
        Path | None,
        typer.Option(help="A file to go on from, if it is there; saved after each turn.", show_default=False),
    ] = None,
    context: options.Context = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quant: options.Quant = None,
    int8_cache: options.Int8Cache = False,
    adapter: options.NamedAdapter = None,
    speculate: options.Speculate = "auto",
    draft: options.DraftModel = None,
    threads: options.Threads = None,
) -> None:
    """Talk to a model.

    /help lists what else can be typed; Ctrl-C ends a reply, not the program. Pictures go with the first message. With
    --session the conversation goes on where it was left: what was read is not read again. Of several named adapters the
    first begins.

    Example: [bold]gemwright chat gemma-3-1b-it --system "Answer briefly."[/bold]
    """
    chosen = options.sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    inside, named = options.read_adapters(adapter)
    lm = options.load(model, device, dtype, threads, context, quant, inside, int8_cache, speculate, draft, named)
    from gemwright.cli.conversation import Conversation

    if lm.tokenizer is None or lm.folder is None:
        raise UserError(f"{model} has no tokenizer", hint="a chat needs one; put its files into the model's folder")
    first = next(iter(named), None)
    talk = Conversation(lm.engine, system=system, sampling=chosen, template=lm.template, adapter=first)
    if not lm.tokenizer.supports_turns and lm.template is None:
        raise UserError(f"the tokenizer of {model} has no turn marks", hint="use `gemwright generate` with this model")
    session = _resume(talk, session, system)
    terminal = _Terminal(talk, pan_scan, session)
    terminal.look(image or [])
    if sys.stdin.isatty():
        show.dim(
            f"{lm.spec.name}, context {talk.engine.context or 'without limit'}; /help for commands, /exit to leave"
        )
    if not answers(lm.folder, lm.tokenizer):
        show.note("this model was never tuned on conversations: it goes on from your words rather than answer them")
    try:
        terminal.loop()
    finally:
        if session is not None:
            talk.save(session)


def _resume(talk: Conversation, session: Path | None, system: str | None) -> Path | None:
    """Go on with the session, if the file is there. Returns where it will be written; raises `UserError` where that
    cannot be."""
    if session is None:
        return None
    session = probe(session)
    if not session.parent.is_dir() or session.is_dir():
        raise UserError(f"{session} cannot be written", hint="name a file in a folder that is there")
    if not session.exists():
        return session
    talk.open(session)
    if system is not None and system != talk.system:
        show.note(f"{session} has its own instruction; --system is for a new conversation")
    show.dim(f"{len(talk.messages)} messages from {session}, cache {show.size(talk.cache_bytes)}")
    return session


def answers(folder: Path, tokenizer: Tokenizer) -> bool:
    """Whether the checkpoint says that it answers: its own stop ids name the end of a turn, or its makers gave it a
    chat template (the built-in one comes with every vocabulary that is trained here)."""
    from gemwright.loading import companions
    from gemwright.text.template import BUILT_IN

    beside = companions(folder)
    if tokenizer.end_of_turn in beside.generation.get("eos_token_id", ()):
        return True
    return beside.template_text not in (None, BUILT_IN)


class _Terminal:
    """The lines of a person, one after the other."""

    def __init__(self, talk: Conversation, pan_scan: bool = False, session: Path | None = None) -> None:
        """`session`: a file that the conversation is saved in after each turn, so that whatever ends the program takes
        the turn under way and no more."""
        self._talk = talk
        self._session = session
        self._pan_scan = pan_scan
        self._waiting: list[Shown] = []  # pictures that go with the next message
        self._asks = sys.stdin.isatty()
        if self._asks:
            with suppress(ImportError):
                import readline  # noqa: F401 (gives `input` its history and editing)

    def loop(self) -> None:
        """Until /exit or the end of the input."""
        while True:
            try:
                text = self._read()
            except EOFError:
                if self._asks:
                    print()
                return
            except KeyboardInterrupt:
                show.dim("\n(/exit or Ctrl-D leaves)")
                continue
            try:
                if not text.strip():
                    continue
                if text.lstrip().startswith("/"):
                    if self._command(text.strip()):
                        return
                else:
                    self._say(text)
            except UserError as error:
                show.complain("error", error.message)
                show.complain("hint", error.hint)

    def look(self, files: Sequence[Path]) -> None:
        """Take pictures for the next message: all of them, or (`UserError`) none."""
        from gemwright.cli.picture_view import look

        if files:
            self._waiting += look(self._talk.engine.eyes, files, self._pan_scan)

    def _read(self) -> str:
        lines = [self._line("> ")]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._line("… "))
        return "\n".join(lines)

    def _line(self, prompt: str) -> str:
        return input(prompt if self._asks else "")

    def _say(self, text: str) -> None:
        stopped, before = False, len(self._talk.messages)
        try:
            self._talk.say(text, on_text=show.stream, images=self._waiting)
        except KeyboardInterrupt:
            stopped = True
        if len(self._talk.messages) > before:  # else the message was taken back, and keeps its pictures
            self._waiting = []
        show.stream("\n")
        self._stats("stopped; " if stopped else "")
        if self._session is not None:
            self._talk.save(self._session)

    def _stats(self, lead: str = "") -> None:
        talk = self._talk
        _, drawn = talk.speed
        context = f" of {talk.engine.context}" if talk.engine.context else ""
        count = talk.last.usage.completion if talk.last else 0
        speed = f"{count} tokens at {drawn:.1f} tokens/s; " if count else ""
        show.dim(f"{lead}{speed}cache {show.size(talk.cache_bytes)}, {talk.tokens}{context} tokens")

    def _command(self, line: str) -> bool:
        """Do what a line beginning with / says; true to leave."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in ("/exit", "/quit"):
            return True
        if word == "/help":
            show.console().print(HELP, markup=False)
        elif word == "/image":
            self._images(rest)
        elif word == "/clear":
            self._talk.clear()
            self._waiting = []
            show.dim("a new conversation")
        elif word == "/system":
            self._talk.clear(rest)
            self._waiting = []
            show.dim("a new conversation with this instruction" if rest else "a new conversation without instruction")
        elif word == "/adapter":
            self._talk.adapter = rest or None
            show.dim(f"answers come with {rest}" if rest else "answers come without an adapter")
        elif word == "/stats":
            self._all_stats()
        elif word in ("/save", "/load"):
            self._file(word, rest)
        else:
            raise UserError(f"there is no command {word}", hint="/help lists them")
        return False

    def _images(self, rest: str) -> None:
        """Take the pictures named; without a name tell which wait."""
        from gemwright.cli.picture_view import describe

        names = _names(rest)
        if not names and not self._waiting:
            raise UserError("/image takes a file", hint='/image cat.png, or "my cat.png" beside others')
        if not names:
            for shown in self._waiting:
                show.dim(f"with the next message: {describe(shown)}")
        self.look([Path(name) for name in names])

    def _file(self, word: str, rest: str) -> None:
        names = _names(rest)
        if len(names) != 1:
            raise UserError(f"{word} takes one file", hint=f'{word} talk.json, or {word} "my talk.json"')
        path = probe(names[0])
        if word == "/save":
            self._talk.write(path)
            show.dim(f"saved {len(self._talk.messages)} messages to {path}")
        else:
            self._talk.read(path)
            show.dim(f"{len(self._talk.messages)} messages from {path}")

    def _all_stats(self) -> None:
        talk = self._talk
        read, drawn = talk.speed
        print(f"messages   {len(talk.messages)}")
        print(f"tokens     {talk.tokens}" + (f" of {talk.engine.context}" if talk.engine.context else ""))
        print(f"cache      {show.size(talk.cache_bytes)} for this conversation")
        if talk.adapter is not None:
            print(f"adapter    {talk.adapter}")
        if talk.last is not None:
            usage = talk.last.usage
            print(f"last turn  {usage.cached} tokens known, {usage.prompt - usage.cached} read at {read:.0f} tokens/s,")
            print(f"           {usage.completion} drawn at {drawn:.1f} tokens/s, ended by {talk.last.finish_reason}")
            if usage.proposed:
                print(f"guesses    {usage.accepted} of {usage.proposed} came true")


def _names(rest: str) -> list[str]:
    """The file names in the rest of a line: one file with spaces in its name, or several, where such stand in
    quotes."""
    if os.path.isfile(os.path.expanduser(rest)):
        return [rest]
    try:
        return shlex.split(rest)
    except ValueError as error:
        raise UserError(f"{rest}: {error}", hint="close the quotes") from error
