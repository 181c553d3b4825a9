"""Settings of the service: environment and `.env`, read when they are asked for, checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from linegroup.errors import UserError
from linegroup.images import MAX_PIXELS
from linegroup.serving.limits import Limits

LEAST_PASSWORD, LEAST_TOKEN = 8, 16
"""Shorter secrets are refused."""

_WORDS = """
000000 111111 123123 123456 1234567 12345678 123456789 1234567890 1q2w3e4r abc123 admin admin123 adminadmin changeit
change-me change_me changeme default example guest iloveyou letmein linegroup monkey pass passw0rd password password1
password123 placeholder qwerty qwerty123 qwertyuiop root secret secret123 test test1234 testtest user welcome
your-password your_password yourpassword
"""

WELL_KNOWN = frozenset(_WORDS.split())
"""Passwords and tokens that everybody tries first, and those of examples."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class ServiceSettings(BaseSettings):
    """What the environment (or `.env`) says; every name in capitals there.

    Raises:
        ValidationError: a value is out of range or the access is not safe; `read` says it in one line.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    api_auth_enabled: bool = Field(True, description="false: no sign-in, and then for this machine only.")
    api_auth_username: str = Field("admin", min_length=1, description="User of HTTP Basic.")
    api_auth_password: SecretStr | None = Field(None, description="Password of HTTP Basic, 8 characters or more.")
    api_auth_token: SecretStr | None = Field(
        None, description="Bearer token, 16 characters or more; beside or instead."
    )
    metrics_auth: bool = Field(False, description="/metrics needs a sign-in, too.")

    model_uri: str | None = Field(
        None, description="models:/NAME@ALIAS, an artifact folder, `none`; default: the packaged model."
    )
    model_follow_s: float = Field(
        60.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="How often one looks where the alias in MODEL_URI points; 0: at the start only.",
    )
    model_device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    model_checkpoint_path: str | None = Field(
        None, description="The reference's name for MODEL_URI: an artifact folder or a checkpoint (.pt) of its script."
    )
    model_emb_dim: Count | None = Field(None, description="The reference's: checked against the model where given.")

    max_upload_bytes: Count = Field(10 * 2**20, description="Of all pictures of a request together.")
    max_image_pixels: Count = Field(MAX_PIXELS, description="Height × width of a picture.")
    max_batch_files: Count = Field(100, description="Pictures of one request of /v1/lines.")
    max_buffered_bytes: Count = Field(
        256 * 2**20, description="Uploads of all requests together, each counted once, until answered."
    )
    max_candidate_points: Count = Field(Limits.max_candidate_points, description="Of more a sample is clustered.")
    max_work: Count = Field(Limits.max_work, description="Steps of a clustering, about 50 ns each.")
    max_candidates: Count = Field(Limits.max_candidates, description="Pixels of a picture that are grouped at all.")
    max_lines: Count = Field(Limits.max_lines, description="Lines of one picture that are traced.")
    max_queued_requests: Count = Field(32, description="Requests at work or waiting; more are answered with 503.")
    batch_parallel: Count = Field(4, description="Pictures of one request that are done at the same time.")
    upload_timeout_s: Seconds = Field(30.0, description="For sending a request, from its first byte to its last.")
    request_timeout_s: Seconds = Field(30.0, description="For each picture, from the end of the upload.")
    retry_after_s: Count = Field(1, description="What a 503 recommends to wait.")
    log_level: str = Field(
        "info", pattern="(?i)^(debug|info|warning|error)$", description="debug, info, warning, error."
    )

    @classmethod
    def read(cls, **values: Any) -> Self:
        """The settings, with `values` before those of the environment.

        Raises:
            UserError: a value is out of range, or the access is not safe.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [_explained(e) for e in error.errors(include_input=False, include_url=False)]
            raise UserError("Settings of the service: " + "; ".join(wrong)) from None

    @property
    def loopback_only(self) -> bool:
        """Whether the service may be reached from this machine only: nobody signs in."""
        return not self.api_auth_enabled

    @property
    def model_reference(self) -> str | None:
        """Which model, as `linegroup.serving.loading.load_model` takes it; None: the packaged one."""
        return self.model_uri or self.model_checkpoint_path

    @property
    def limits(self) -> Limits:
        """What one picture may cost."""
        return Limits(self.max_candidate_points, self.max_work, self.max_lines, self.max_candidates)

    @model_validator(mode="after")
    def _access_is_safe(self) -> Self:
        if not self.api_auth_enabled:
            return self
        if self.api_auth_password is None and self.api_auth_token is None:
            raise ValueError(
                "set API_AUTH_PASSWORD (or API_AUTH_TOKEN), or API_AUTH_ENABLED=false for a service that only this"
                " machine can reach"
            )
        _check_secret("API_AUTH_PASSWORD", self.api_auth_password, LEAST_PASSWORD, self.api_auth_username)
        _check_secret("API_AUTH_TOKEN", self.api_auth_token, LEAST_TOKEN, self.api_auth_username)
        if ":" in self.api_auth_username:
            raise ValueError("API_AUTH_USERNAME must not contain a colon: HTTP Basic ends the name there")
        return self


def _check_secret(name: str, secret: SecretStr | None, least: int, username: str) -> None:
    if secret is None:
        return
    value = secret.get_secret_value()
    if len(value) < least:
        raise ValueError(f"{name} must have {least} characters or more")
    plain = value.strip().lower()
    if plain in WELL_KNOWN or plain == username.lower() or len(set(plain)) < 3:
        raise ValueError(
            f"{name} is one that everybody tries first; choose another, for example by openssl rand -hex 24"
        )


def _explained(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
