"""Reports of packages: what a model was trained from, how good it is, and the files beside it. Needs no training library."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rte_server.training.tasks import TASKS, Task

MODEL_FILE = "model.yaml"
REPORT_FILE = "report.json"


class PackageError(Exception):
    """A package cannot be written or read; the message says why."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Area under the ROC curve over the folds of a cross-validation, on rows that were not fitted to.

    Attributes:
        auc: Its mean, 0 to 1; 0.5 is chance.
        deviation: Its standard deviation over the folds.
    """

    auc: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a package was trained from and how good it is.

    Attributes:
        task: Name of the task.
        algorithm: Name of the algorithm.
        without: Columns that were left out.
        examples: Examples it was fitted to.
        positives: Those with the label 1.
        quality: In cross-validation, by algorithm.
    """

    task: str
    algorithm: str
    without: tuple[str, ...]
    examples: int
    positives: int
    quality: dict[str, Quality]

    def trained_task(self) -> Task:
        """Return the task with the columns that were used."""
        task = TASKS[self.task]
        for column in self.without:
            task = task.without(column)
        return task


def write_package(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a package into a folder, which is made if there is none.

    Raises:
        PackageError: They cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise PackageError(f"{folder} cannot be written: {error.strerror}.") from None


def model_sha256(folder: Path) -> str:
    """Return the SHA-256 of the model file of a package, in hexadecimal, as a server tells it of a model that it runs.

    The file names the digest of its graph, so another graph is another model, too.

    Raises:
        PackageError: It cannot be read.
    """
    path = folder / MODEL_FILE
    try:
        return hashlib.sha256(path.read_text("utf-8").encode()).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path} cannot be read: {error}; name the folder of a package.") from None


def read_report(folder: Path) -> Report:
    """Return the report of a package.

    Raises:
        PackageError: There is none, or another version of RTE wrote it.
    """
    path = folder / REPORT_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        quality = {name: Quality(**each) for name, each in content.pop("quality").items()}
        report = Report(**content | {"quality": quality, "without": tuple(content["without"])})
        report.trained_task()
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}; name the folder of a package.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PackageError(f"{path} is no report of a package; train it again with `rte models train`.") from None
    return report
