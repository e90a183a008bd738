"""The states of a process as a drawing, made of the table that decides what may follow.

SVG without a script: it takes its colour from the text around it, so that it can be read on
light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import attrs

from smartmob_agent.process.states import FAILURES, TRANSITIONS, State

__all__ = ["draw"]

_SVG = "http://www.w3.org/2000/svg"
_WIDTH, _HEIGHT = 760, 580
_MAIN = (
    State.PENDING,
    State.DOWNLOADING,
    State.UNPACKING,
    State.PROCESSING,
    State.BUILDING,
    State.RUNNING,
)
_SIDE = (
    State.DOWNLOAD_FAILURE,
    State.UNPACK_FAILURE,
    State.INVALID_PROCFILE,
    State.NO_PROCFILE,
    State.UNKNOWN_PROCESS_TYPE,
    State.INVALID_APP_JSON,
    State.BUILD_FAILURE,
)
_LIVING = frozenset(TRANSITIONS) - {State.STOPPING, State.GONE}
"""What the frame holds: whatever goes on, it can be stopped."""
_FRAME = "M 10 10 H 750 V 480 H 10 Z"
_STYLE = """
.states text { fill: currentColor; font: 14px system-ui, sans-serif; text-anchor: middle; }
.states rect, .states .edge { fill: none; stroke: currentColor; stroke-width: 1.4; }
.states .edge, .states .note { opacity: 0.8; }
.states .failure rect { stroke-dasharray: 5 3; }
.states .frame { fill: none; stroke: currentColor; stroke-dasharray: 1 4; }
.states marker path { fill: currentColor; }
"""
_ARROW = (
    '<marker id="arrow" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8"'
    ' orient="auto-start-reverse"><path d="M 0 1 L 10 5 L 0 9 z"/></marker>'
)


@attrs.frozen
class _Box:
    """Where a state is drawn: its middle and its size."""

    x: float
    y: float
    width: float = 140
    height: float = 34

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


_BOXES = {
    **{state: _Box(370, 45 + 78 * row) for row, state in enumerate(_MAIN)},
    **{state: _Box(640, 70 + 58 * row, width=180) for row, state in enumerate(_SIDE)},
    State.BACKOFF: _Box(120, 240, width=110, height=130),
    State.FINISHED: _Box(120, 435, width=110),
    State.STOPPING: _Box(370, 550),
    State.GONE: _Box(640, 550),
}


def draw() -> str:
    """Return the drawing as an SVG element for an HTML page.

    Each arrow says in `data-from` and `data-to` which states it joins; `data-both` marks
    those with two heads, which go back as well.

    Raises `ValueError` for a state or transition which the drawing has no place for.
    """
    return "\n".join(
        [
            f'<svg class="states" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" xmlns="{_SVG}">',
            "<title>The states of a process, and which may follow which</title>",
            f"<style>{_STYLE}</style><defs>{_ARROW}</defs>",
            *_draw_states(),
            *_draw_stop(),
            *_draw_edges(),
            "</svg>",
        ]
    )


def _draw_states() -> Iterator[str]:
    if set(_BOXES) != set(State):
        raise ValueError(f"expected a box for each state, found {sorted(_BOXES)}")
    for state, box in _BOXES.items():
        kind = "failure" if state in FAILURES else "state"
        yield (
            f'<g class="{kind}"><rect x="{box.left:g}" y="{box.top:g}" width="{box.width:g}"'
            f' height="{box.height:g}" rx="6"/>'
            f'<text x="{box.x:g}" y="{box.y + 5:g}">{escape(state)}</text></g>'
        )


def _draw_stop() -> Iterator[str]:
    """One arrow from a frame around all states that may be followed by `stopping`."""
    if {state for state in State if State.STOPPING in TRANSITIONS[state]} != _LIVING:
        raise ValueError("expected that what lives can be stopped, and nothing else")
    box = _BOXES[State.STOPPING]
    yield f'<path class="frame" d="{_FRAME}"/>'
    yield _edge(f"M {box.x:g} 480 V {box.top:g}", ",".join(sorted(_LIVING)), State.STOPPING)
    yield f'<text class="note" x="{box.x + 115:g}" y="510">deleted, or the agent stops</text>'


def _draw_edges() -> Iterator[str]:
    for old, followers in TRANSITIONS.items():
        for new in sorted(followers - {State.STOPPING}):
            both = old in TRANSITIONS[new]
            if both and old is State.BACKOFF and new is not old:
                continue  # Drawn from the other end.
            yield _edge(_path(old, new), old, new, both=both and new is not old)


def _path(old: State, new: State) -> str:
    start, end = _BOXES[old], _BOXES[new]
    if old is new is State.BACKOFF:
        return f"M {start.x - 20:g} {start.top:g} c -20 -60 60 -60 40 0"
    if new is State.BACKOFF and old in _MAIN:
        # The lines keep their order on the tall box, so that none crosses another.
        y = end.top + end.height * (0.5 + _MAIN.index(old)) / len(_MAIN)
        return f"M {start.left:g} {start.y:g} L {end.right:g} {y:g}"
    if new is State.BACKOFF and old in FAILURES:  # Someone asks for another try.
        return f"M {start.x:g} {start.bottom:g} V 466 H {end.x:g} V {end.bottom:g}"
    if (old, new) == (State.PROCESSING, State.RUNNING):  # Nobody builds it.
        return f"M {start.left:g} {start.y + 8:g} C 270 330 270 390 {end.left:g} {end.y - 8:g}"
    if old in _MAIN and new in _MAIN and _MAIN.index(new) == _MAIN.index(old) + 1:
        return f"M {start.x:g} {start.bottom:g} V {end.top:g}"
    if old is State.PENDING and new is State.FINISHED:  # It comes back so.
        return f"M {start.left:g} {start.y:g} H 36 V {end.y:g} H {end.left:g}"
    if old is State.RUNNING and new is State.FINISHED:
        return f"M {start.left:g} {start.y:g} H {end.right:g}"
    if old is State.FINISHED and new is State.BACKOFF:
        return f"M {start.x:g} {start.top:g} V {end.bottom:g}"
    if start.x < end.x and (new in FAILURES or new is State.GONE):
        return f"M {start.right:g} {start.y:g} L {end.left:g} {end.y:g}"
    raise ValueError(f"expected a place for the arrow from {old!r} to {new!r}, found none")


def _edge(path: str, old: str, new: State, *, both: bool = False) -> str:
    back = ' data-both="" marker-start="url(#arrow)"' if both else ""
    return (
        f'<path class="edge" data-from="{escape(old)}" data-to="{escape(new)}"{back}'
        f' d="{path}" marker-end="url(#arrow)"/>'
    )
