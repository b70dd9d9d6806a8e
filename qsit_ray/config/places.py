"""pure: files and folders in the settings, absolute, so that later commands may run elsewhere."""

from __future__ import annotations

from pathlib import Path

from qsit_ray.config.config import Config
from qsit_ray.config.data import DemoData, Files, LlavaData, PoolsData


def absolute(config: Config) -> Config:
    """`config` with absolute paths; those of base models are `models.base`'s. URLs stay."""
    earlier = tuple(map(_absolute, config.search.earlier))
    search = config.search.model_copy(update={"earlier": earlier})
    if search.storage is not None:
        search = search.model_copy(update={"storage": _absolute(search.storage)})
    update = {"data": config.data, "search": search, "cache": _absolute(config.cache)}
    if isinstance(config.data, LlavaData | PoolsData):
        update["data"] = _of_files(config.data)
    if isinstance(config.data, DemoData) and config.data.test_photographs is not None:
        folder = _absolute(config.data.test_photographs)
        update["data"] = config.data.model_copy(update={"test_photographs": folder})
    return config.model_copy(update=update)


def _of_files(data: LlavaData | PoolsData) -> LlavaData | PoolsData:
    lists: dict[str, Files] = {
        pool: tuple(map(_absolute, files)) for pool, files in data.files.items()
    }
    update: dict[str, object] = {
        "images": _absolute(data.images),
        "folders": {_absolute(file): folder for file, folder in data.folders.items()},
    }
    if isinstance(data, PoolsData):
        return data.model_copy(update={**update, "pools": lists})
    update |= {
        **lists,
        "validation_questions": _absolute(data.validation_questions),
        "test_images": {name: _absolute(file) for name, file in data.test_images.items()},
        "test_questions": _absolute(data.test_questions) if data.test_questions else None,
    }
    return data.model_copy(update=update)


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())
