#!/usr/bin/env python3
"""Records `panda demo` in a terminal and writes docs/demo.svg: scripts/record-demo.py [PANDA]

The picture shows what the program printed, when it printed it; waits longer than two seconds are cut to two.
PANDA is the program, target/debug/panda by default. `make record-demo` builds it first.
"""

import codecs
import fcntl
import html
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

COLUMNS, ROWS = 104, 26
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 14
LONGEST_WAIT, LAST_FRAME, BETWEEN_FRAMES = 2.0, 6.0, 0.25
COLOURS = {"": "#d6d9de", "31": "#f08080", "32": "#7fd08a", "33": "#e0c060", "36": "#70c8d8", "2": "#8a9099", "1": "#ffffff"}
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[^\[]|([\r\n\b])|([^\x00-\x1f\x7f])")


class Screen:
    """The little of a terminal that the program uses: lines, colours, erasing, moving up and down."""

    def __init__(self):
        self.cells = [[(" ", "")] * COLUMNS for _ in range(ROWS)]
        self.row = self.column = 0
        self.colour = ""

    def feed(self, text):
        for parameters, command, control, character in CONTROL.findall(text):
            if command:
                self.escape(parameters, command)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self.line_feed()
            elif control == "\b":
                self.column = max(0, self.column - 1)
            elif character:
                self.put(character)

    def put(self, character):
        if self.column >= COLUMNS:
            self.column = 0
            self.line_feed()
        self.cells[self.row][self.column] = (character, self.colour)
        self.column += 1

    def line_feed(self):
        if self.row == ROWS - 1:
            self.cells = [*self.cells[1:], [(" ", "")] * COLUMNS]
        else:
            self.row += 1

    def escape(self, parameters, command):
        count = int(parameters) if parameters.isdigit() else 1
        if command == "m":
            codes = [code for code in parameters.split(";") if code.strip("0")]
            self.colour = codes[-1] if codes and codes[-1] in COLOURS else ""
        elif command in "AF":
            self.row = max(0, self.row - count)
        elif command in "BE":
            self.row = min(ROWS - 1, self.row + count)
        elif command == "C":
            self.column = min(COLUMNS, self.column + count)
        elif command in "DG":
            self.column = max(0, self.column - count if command == "D" else count - 1)
        elif command == "K":
            start = 0 if parameters == "2" else self.column
            self.cells[self.row][start:] = [(" ", "")] * (COLUMNS - start)
        elif command == "J":
            self.cells[self.row][self.column:] = [(" ", "")] * (COLUMNS - self.column)
            self.cells[self.row + 1:] = [[(" ", "")] * COLUMNS for _ in range(ROWS - self.row - 1)]
        if command in "EF":
            self.column = 0

    def lines(self):
        return tuple(tuple(line) for line in self.cells)


def record(command):
    """Runs the command in a terminal: (seconds since the start, screen) for each change."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS), PANDA_LANG="en")
        os.environ.pop("NO_COLOR", None)
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen, frames, began = Screen(), [], time.monotonic()
    decode, rest = codecs.getincrementaldecoder("utf-8")(errors="replace").decode, ""
    while True:
        ready, _, _ = select.select([terminal], [], [], BETWEEN_FRAMES)
        if ready:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                break
            if not chunk:
                break
            # A read may end within a control sequence.
            text, rest = re.fullmatch(r"(.*?)((?:\x1b(?:\[[0-9;?]*)?)?)", rest + decode(chunk), re.DOTALL).groups()
            screen.feed(text)
        now = time.monotonic() - began
        if not frames or (now - frames[-1][0] >= BETWEEN_FRAMES and screen.lines() != frames[-1][1]):
            frames.append((now, screen.lines()))
    frames.append((time.monotonic() - began, screen.lines()))
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed: nothing was written")
    return frames


def line_as_text(line):
    spans, column = [], 0
    while column < len(line):
        colour, start = line[column][1], column
        while column < len(line) and line[column][1] == colour:
            column += 1
        text = "".join(character for character, _ in line[start:column])
        if text.strip():
            fill = "" if not colour else f' fill="{COLOURS[colour]}"'
            lead = len(text) - len(text.lstrip())
            spans.append(f'<tspan x="{(start + lead) * CELL_WIDTH:.1f}"{fill}>{html.escape(text.strip(), quote=False)}</tspan>')
    return "".join(spans)


def picture(frames):
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, ROWS * CELL_HEIGHT + 2 * MARGIN
    lines, shown, at, time_of = {}, [], [], 0.0
    for (began, screen), following in zip(frames, [*frames[1:], None]):
        uses = []
        for row, line in enumerate(screen):
            text = line_as_text(line)
            if text:
                name = lines.setdefault(text, f"l{len(lines)}")
                uses.append(f'<use href="#{name}" y="{(row + 1) * CELL_HEIGHT - 4}"/>')
        shown.append(f'<g transform="translate({len(shown) * width:.1f} 0)">{"".join(uses)}</g>')
        at.append(time_of)
        time_of += LAST_FRAME if following is None else min(LONGEST_WAIT, following[0] - began)
    steps = "".join(f"{100 * moment / time_of:.3f}%{{transform:translateX({-index * width:.1f}px)}}" for index, moment in enumerate(at))
    texts = "".join(f'<text id="{name}">{text}</text>' for text, name in lines.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<title>panda demo, recorded</title>"
        f"<style>@keyframes play{{{steps}}}.film{{animation:play {time_of:.1f}s steps(1,end) infinite}}"
        f"text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:{COLOURS['']};white-space:pre}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#16181d"/><defs>{texts}</defs>'
        f'<svg x="{MARGIN}" y="{MARGIN}" width="{width - 2 * MARGIN:.0f}" height="{height - 2 * MARGIN:.0f}"><g class="film">{"".join(shown)}</g></svg></svg>\n'
    )


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "panda")
    frames = record([program, "demo"])
    path = Path(__file__).resolve().parent.parent / "docs" / "demo.svg"
    path.write_text(picture(frames))
    print(f"{path}: {len(frames)} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
