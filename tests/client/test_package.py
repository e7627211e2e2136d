"""The names of calpow.client are all there, although PowAuth is imported late."""

import importlib
import inspect
import pydoc

from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth

package = importlib.import_module("calpow.client")


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    names: dict[str, object] = {}
    exec("from calpow.client import *", names)
    assert set(package.__all__) == names.keys() - {"__builtins__"}
    assert set(package.__all__) <= set(dir(package))
    assert "PowAuth" in pydoc.plain(pydoc.render_doc(package))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(package, "NoSuchName")


def test_a_subclass_has_documentation_of_its_own() -> None:
    class OwnAuth(PowAuth):
        """My own."""

    assert OwnAuth.__doc__ == "My own."


def test_both_classes_describe_every_argument_that_they_take() -> None:
    for auth in (PowAuth, HttpxPowAuth):
        for argument in inspect.signature(auth).parameters:
            assert f"\n{argument}: " in inspect.cleandoc(auth.__doc__ or "")
