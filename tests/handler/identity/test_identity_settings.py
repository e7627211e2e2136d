"""The file of CALPOW_IDENTITY: defaults are filled in, and what cannot be meant is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from calpow.handler.errors import GateMisconfigured
from calpow.handler.identity.identity_settings import IdentitySettings, JwtSettings, ProxySettings

JWT = {"issuer": "https://login.example.org/", "audience": "digits", "algorithms": ["RS256"], "jwks": "/etc/jwks.json"}


def load(tmp_path: Path, text: str) -> IdentitySettings:
    path = tmp_path / "identity.json"
    path.write_text(text)
    return IdentitySettings.load({"CALPOW_IDENTITY": str(path)})


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    settings = load(tmp_path, json.dumps({"schema": 1, "jwt": JWT, "proxy": {}}))
    assert settings.jwt == JwtSettings(
        "https://login.example.org/", "digits", ("RS256",), "/etc/jwks.json", 30.0, "sub", None, "jwt:"
    )
    assert settings.proxy == ProxySettings(None, False, "proxy:")
    assert load(tmp_path, '{"schema": 1}') == IdentitySettings.load({}) == IdentitySettings(1, None, None)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("jwt", {"algorithms": ["HS256"]}, "must be some of RS256"),
        ("jwt", {"algorithms": ["RS256", "none"]}, "not none"),
        ("jwt", {"algorithms": []}, "an empty list"),
        ("jwt", {"algorithms": "RS256"}, "must be a list"),
        ("jwt", {"issuer": ""}, "issuer is empty"),
        ("jwt", {"audience": ""}, "audience is empty"),
        ("jwt", {"audience": ["digits"]}, "must be of type str"),
        ("jwt", {"jwks": "jwks.json"}, "absolute path"),
        ("jwt", {"jwks": None}, "must be of type str"),
        ("jwt", {"leeway_seconds": -1}, "must be 0 to 600"),
        ("jwt", {"leeway_seconds": 1e9}, "must be 0 to 600"),
        ("jwt", {"prefix": "\n"}, "cannot begin a name"),
        ("jwt", {"jwks_url": "https://thief.example"}, "jwt.jwks_url is not known"),
        ("proxy", {"secret": "a secret of the proxy"}, "proxy.secret is not known"),
        ("proxy", {"secret_file": "secret"}, "absolute path"),
        ("proxy", {"prefix": " "}, "cannot begin a name"),
        ("proxy", {"tenants": 1}, "must be of type bool"),
        ("keys", {}, "keys is not known"),
    ],
)
def test_settings_that_nobody_can_mean_are_refused(
    tmp_path: Path, section: str, changes: dict[str, Any], message: str
) -> None:
    document: dict[str, Any] = {"schema": 1, "jwt": JWT}
    document[section] = {**document.get(section, {}), **changes}
    with pytest.raises(GateMisconfigured, match=r"CALPOW_IDENTITY|absolute path") as refused:
        load(tmp_path, json.dumps(document))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "a secret of the proxy" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1, "jwt": 3}', '{"schema": 1, "jwt": {}}']
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(GateMisconfigured, match="CALPOW_IDENTITY="):
        load(tmp_path, text)
