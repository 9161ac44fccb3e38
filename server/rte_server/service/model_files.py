"""Follows the model files that the configuration names: a file that changes is activated, a broken one changes nothing.

Files are looked at now and then: their times and sizes, and where these changed their contents. What changed is followed
when it looks the same at two looks in a row, so that a file that is just being written is left alone. It needs nothing of
the operating system, works on network file systems, and a look per second at some files costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from rte_server.engine.reasons import EngineError
from rte_server.models import shipped_names
from rte_server.models.configured import Configured, Problems, files_of, read_configured
from rte_server.models.loader import header
from rte_server.service.lifecycle import ModelLifecycle

_log = logging.getLogger("rte.models")

_Looks = dict[Path, tuple[int, int, int]]
"""Of each file: time of its last change in ns, size in bytes, number; `_NO_FILE` where there is none."""

_NO_FILE = (0, 0, 0)


class ModelFiles:
    """The watched files of one server. Belongs to an event loop."""

    def __init__(
        self,
        paths: Sequence[str],
        lifecycle: ModelLifecycle,
        configured: Configured,
        problems: Problems,
        interval_s: float,
    ) -> None:
        """Begin to watch, at the next turn of the event loop.

        Args:
            paths: Names of packs and paths of files, as the configuration names them.
            lifecycle: Activates what changed.
            configured: The files as they were when the server started.
            problems: What was wrong with them.
            interval_s: How often they are looked at, seconds; 0: never.
        """
        self._paths = paths
        self._lifecycle = lifecycle
        self._files: list[Path] = []
        self._remember(configured)
        self._looks: _Looks | None = self._look()
        self._settling: Configured | None = None
        self._told = ""
        self._gone: dict[str, list[str]] = {}
        self.problems = problems
        """What is wrong with files now, by name of the model that runs on as it was."""
        self.reloads = 0
        self._interval_s = interval_s
        self._task = asyncio.create_task(self._run()) if interval_s > 0 else None

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name."""
        return {"reloads": self.reloads, "broken_files": len(self.problems)}

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._follow_if_changed()
                self._told = ""
            except EngineError as error:
                self._try_again(logging.WARNING, f"changed model files are not active yet: {error.message}")
            except Exception as error:
                self._try_again(logging.ERROR, f"model files cannot be followed: {error!r}", error)

    def _try_again(self, level: int, message: str, error: Exception | None = None) -> None:
        """Let the next look follow the files whatever they look like; say why, unless that was said last."""
        self._looks = None
        if message != self._told:
            self._told = message
            _log.log(level, "%s", message, exc_info=error)

    async def _follow_if_changed(self) -> None:
        looks = await asyncio.to_thread(self._look)
        if looks == self._looks:
            self._settling = None
            return
        configured = await asyncio.to_thread(read_configured, self._paths)
        self._remember(configured)
        if self._settling != configured:
            # Any beginning of a model file may be a model, too.
            self._settling = configured
            return
        problems, changed = await self._lifecycle.follow(configured)
        self._looks, self._settling = looks, None
        for name, found in problems.items():
            if self.problems.get(name) != found:
                _log.error("the model %s runs on as it was, its file is broken: %s", name, "; ".join(map(str, found)))
        gone = _gone(configured, looks)
        for name, paths in gone.items():
            if self._gone.get(name) != paths and name not in problems:
                _log.warning("the model %s runs with what is kept of files that are gone: %s", name, ", ".join(paths))
        self._gone = gone
        for name in self.problems.keys() - problems.keys() - gone.keys():
            _log.info("the file of the model %s is sound again", name)
        self.problems = problems
        self.reloads += bool(changed)

    def _remember(self, configured: Configured) -> None:
        """Note which files there are; of a broken one, those that it named before, too."""
        files = [] if not configured.problems else list(self._files)
        for path in self._paths:
            if path in configured.sources and path not in shipped_names():
                files += files_of(path, configured.sources[path])
            elif path not in shipped_names():
                files.append(Path(path))
        self._files = list(dict.fromkeys(files))

    def _look(self) -> _Looks:
        looks: _Looks = {}
        for path in self._files:
            try:
                found = path.stat()
                looks[path] = found.st_mtime_ns, found.st_size, found.st_ino
            except OSError:
                looks[path] = _NO_FILE
        return looks


def _gone(configured: Configured, looks: _Looks) -> dict[str, list[str]]:
    """Return the files that are not there, by name of the model that names them: a graph whose digest is stated may be kept."""
    found: dict[str, list[str]] = {}
    for path, source in configured.sources.items():
        paths = [str(each) for each in files_of(path, source) if looks.get(each) == _NO_FILE]
        if paths:
            found[header(source)[0]] = paths
    return found
