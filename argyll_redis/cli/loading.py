"""`--app MODULE:NAME`: the app that a module of the user's holds."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType

from argyll_redis.app import Argyll
from argyll_redis.core.reader import did_you_mean
from argyll_redis.errors import InvalidInput


def load_app(target: str) -> Argyll:
    """Imports the module, with the working directory on its path, and gives the app in it.

    Raises `InvalidInput` that says what is not there, or where the module is broken.
    """
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        raise InvalidInput(f'--app: "{target}" does not name an app (use MODULE:NAME, such as shop:app)')
    if module_name.endswith(".py") and os.path.isfile(module_name):
        raise InvalidInput(f"--app: {module_name} is a file, not a module ({_as_module(module_name, name)})")
    module = _imported(module_name)
    apps = [each for each, value in vars(module).items() if isinstance(value, Argyll)]
    if not hasattr(module, name):
        raise InvalidInput(f"--app: module {module_name} has no {name} ({_mend(name, module_name, apps)})")
    app = getattr(module, name)
    if not isinstance(app, Argyll):
        what = f"{module_name}:{name} is a {type(app).__name__}, not an Argyll"
        raise InvalidInput(f"--app: {what} ({_mend(name, module_name, apps)})")
    return app


def _as_module(file: str, name: str) -> str:
    """How the app in a file is named; one that is not below the working directory, from where it is."""
    place = os.path.relpath(file)
    directory, base = os.path.split(place)
    if place.startswith(os.pardir):
        return f"use {base.removesuffix('.py')}:{name} in {directory}"
    return f"use {place.removesuffix('.py').replace(os.sep, '.')}:{name}"


def _mend(name: str, module: str, apps: list[str]) -> str:
    near = did_you_mean(name, apps)
    if near:
        return near
    return (
        f"use {' or '.join(f'{module}:{each}' for each in apps)}" if apps else "make one: app = Argyll(...)"
    )


def _imported(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            mend = f"run it where {error.name} is, or set PYTHONPATH"
            raise InvalidInput(f"--app: there is no module {error.name} in {here} ({mend})") from None
        raise _broken(name, error) from None
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from None


def _broken(name: str, error: BaseException) -> InvalidInput:
    """Says where a module is broken: the last line of its own that was running."""
    place = next(
        (
            f"{os.path.relpath(frame.filename)}, line {frame.lineno}: "
            for frame in reversed(traceback.extract_tb(error.__traceback__))
            if "importlib" not in frame.filename
        ),
        "",
    )
    return InvalidInput(f"--app: module {name} cannot be imported: {place}{type(error).__name__}: {error}")
