"""Settings of the service: what is refused before anything starts."""

import re
from pathlib import Path

import pytest

from linegroup.errors import UserError
from linegroup.serving.loading import load_model
from linegroup.serving.settings import WELL_KNOWN, ServiceSettings

ROOT = Path(__file__).parents[2]
GOOD = "correct horse battery"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ServiceSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_no_password_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"API_AUTH_PASSWORD.*API_AUTH_ENABLED=false"):
        ServiceSettings.read()


@pytest.mark.parametrize("password", ["change_me", "CHANGEME", " Password123 ", "aaaaaaaaaaaa", "short", "linegroup"])
def test_passwords_that_everybody_tries_are_refused_and_not_repeated(password):
    with pytest.raises(UserError, match="API_AUTH_PASSWORD") as error:
        ServiceSettings.read(api_auth_password=password)
    assert password not in str(error.value)


def test_every_well_known_word_is_refused():
    for word in WELL_KNOWN:
        with pytest.raises(UserError):
            ServiceSettings.read(api_auth_password=word)


def test_the_username_is_no_password():
    with pytest.raises(UserError, match="everybody tries"):
        ServiceSettings.read(api_auth_username="mathilda", api_auth_password="Mathilda")


def test_a_short_token_is_refused():
    with pytest.raises(UserError, match="API_AUTH_TOKEN must have 16"):
        ServiceSettings.read(api_auth_token="0123456789abcde")


def test_a_colon_in_the_username_is_refused():
    with pytest.raises(UserError, match="colon"):
        ServiceSettings.read(api_auth_username="a:b", api_auth_password=GOOD)


def test_without_sign_in_loopback_only():
    assert ServiceSettings.read(api_auth_enabled=False).loopback_only
    assert not ServiceSettings.read(api_auth_password=GOOD).loopback_only


def test_environment_and_env_file_are_read_when_asked_for(monkeypatch):
    Path(".env").write_text(f"API_AUTH_PASSWORD={GOOD}\nMAX_UPLOAD_BYTES=1000\nREQUEST_TIMEOUT_S=\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "2000")
    settings = ServiceSettings.read()
    assert settings.max_upload_bytes == 2000
    assert settings.request_timeout_s == 30
    assert settings.api_auth_password is not None
    assert settings.api_auth_password.get_secret_value() == GOOD


def test_secrets_do_not_show():
    settings = ServiceSettings.read(api_auth_password=GOOD, api_auth_token="t0ken" * 5)
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert GOOD not in text
        assert "t0ken" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_upload_bytes", 0), ("request_timeout_s", float("inf")), ("max_queued_requests", -1), ("log_level", "loud")],
)
def test_values_out_of_range_are_named(name, value):
    with pytest.raises(UserError, match=name.upper()):
        ServiceSettings.read(api_auth_password=GOOD, **{name: value})


def test_the_references_names(monkeypatch):
    monkeypatch.setenv("MODEL_CHECKPOINT_PATH", "somewhere/artifact")
    monkeypatch.setenv("MODEL_EMB_DIM", "16")
    settings = ServiceSettings.read(api_auth_password=GOOD)
    assert settings.model_reference == "somewhere/artifact"
    assert settings.model_emb_dim == 16
    assert ServiceSettings.read(api_auth_password=GOOD, model_uri="none").model_reference == "none"


def test_a_model_of_another_width_is_refused():
    with pytest.raises(UserError, match=r"MODEL_EMB_DIM is 3"):
        load_model("pretrained", "cpu", 3)


def test_the_packaged_model_is_told_without_paths():
    info = load_model("pretrained", "cpu").info
    assert info.metrics
    assert info.parameters["method"] == "link"
    assert "/" not in info.model_dump_json()


def test_the_example_file_names_every_setting_and_is_refused_as_it_is():
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#? ?([A-Z_]+)=", text, flags=re.MULTILINE))
    assert named == {name.upper() for name in ServiceSettings.model_fields}
    Path(".env").write_text(text)
    with pytest.raises(UserError, match="API_AUTH_PASSWORD"):
        ServiceSettings.read()


def test_the_documentation_names_every_setting():
    text = (ROOT / "docs/serving.md").read_text()
    example = (ROOT / ".env.example").read_text()
    for name, field in ServiceSettings.model_fields.items():
        assert f"`{name.upper()}`" in text
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            told = re.search(rf"^\| `{name.upper()}` \| (\d+)", text, re.MULTILINE)
            assert told is None or int(told[1]) == field.default, name
            told = re.search(rf"^# {name.upper()}=(\d+)", example, re.MULTILINE)
            assert told is None or int(told[1]) == field.default, name
