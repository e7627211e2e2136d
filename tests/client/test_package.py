"""The names of calpow.client are all there, although PowAuth is imported late."""

import inspect
import pydoc

import calpow.client
from calpow.client import PowAuth
from calpow.client.httpx import PowAuth as HttpxPowAuth


def test_every_public_name_can_be_imported_and_is_listed() -> None:
    names: dict[str, object] = {}
    exec("from calpow.client import *", names)
    assert set(calpow.client.__all__) == names.keys() - {"__builtins__"}
    assert set(calpow.client.__all__) <= set(dir(calpow.client))
    assert "PowAuth" in pydoc.plain(pydoc.render_doc(calpow.client))


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(calpow.client, "NoSuchName")


def test_a_subclass_has_documentation_of_its_own() -> None:
    class OwnAuth(PowAuth):
        """My own."""

    assert OwnAuth.__doc__ == "My own."


def test_both_classes_describe_every_argument_that_they_take() -> None:
    for auth in (PowAuth, HttpxPowAuth):
        for argument in inspect.signature(auth).parameters:
            assert f"\n{argument}: " in inspect.cleandoc(auth.__doc__ or "")
