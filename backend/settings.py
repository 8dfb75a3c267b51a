"""Every setting, read once from the environment at the entry point and passed on as one frozen object.

The README's table is made from this file (``ls-active settings --markdown``) and a test holds the two together.
"""

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from filelock import FileLock
from pydantic import AnyHttpUrl, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.errors import UserError


class Settings(BaseSettings):
    """One field for each environment variable, in capital letters; a ``.env`` file is read too."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore", env_ignore_empty=True)

    label_studio_url: AnyHttpUrl = Field(
        AnyHttpUrl("http://localhost:8080"), description="Label Studio's address as this program reaches it."
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        description="A personal access token (or a legacy token, where they are enabled); reads annotations and "
        "publishes the queue.",
    )
    label_studio_timeout_s: float = Field(120, gt=0, description="Seconds that one call to Label Studio may take.")

    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` in a container.")
    port: int = Field(9090, ge=1, le=65535, description="Port to listen on.")
    basic_auth_user: str = Field("", description="User of HTTP Basic on `/predict`, `/setup` and the API; empty: none.")
    basic_auth_password: SecretStr = Field(SecretStr(""), description="Password of HTTP Basic.")
    webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="Secret that the webhook must carry. Empty: made at the first start and kept in the data folder.",
    )

    data_dir: Path = Field(Path("data"), description="Folder for database, versions and caches: the one volume.")
    database_url: str = Field("", description="SQLAlchemy URL. Empty: SQLite in the data folder.")
    worker_id: str = Field(
        "worker", pattern=r"^[\w.-]+$", description="Name of this worker; several on one database need different ones."
    )
    storage_url: str = Field(
        "", description="Where versions are stored: a folder or an fsspec URL (`s3://…`, `gs://…`). Empty: data folder."
    )

    base_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="Encoder: a hub name, a folder, or the name of an installed package that carries one.",
    )
    base_model_revision: str = Field("", description="Revision of a hub model. Empty: the newest.")
    text_prefix: str = Field("", description="Put before every text, for models that want it (e5: `query: `).")
    max_tokens: int = Field(
        256, ge=32, le=8192, description="Tokens read of each text, at least 32; the rest is cut off."
    )
    batch_tokens: int = Field(
        1024, ge=64, description="Tokens (padding counted) in one forward pass; 16384 suits a GPU."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where models run; `auto` takes a GPU if any.")
    threads: int = Field(0, ge=0, description="CPU threads for each process; 0: one for each core.")

    text_model: str = Field(
        "",
        description="Model that writes suggestions for `<TextArea>`, causal or sequence-to-sequence, named as "
        "`BASE_MODEL` is. Empty: nothing is suggested there, the tasks are only put in order.",
    )
    text_model_revision: str = Field("", description="Revision of a hub model. Empty: the newest.")
    text_prompt: str = Field(
        "",
        description="What `TEXT_MODEL` is asked where the tag has no `prompt`; `{field}` is a field of the task's "
        "data. Without one the text follows; empty: the text alone.",
    )
    text_max_tokens: int = Field(512, ge=8, le=32768, description="Tokens read of each prompt; the rest is cut off.")
    text_max_new_tokens: int = Field(96, ge=1, le=4096, description="Tokens of a text that is written, at most.")
    text_candidates: int = Field(1, ge=1, le=16, description="Texts suggested for a task, best first.")
    text_beams: int = Field(
        1, ge=1, le=16, description="Beams of the search for a text; 1: the likeliest token each time."
    )
    text_samples: int = Field(
        0,
        ge=0,
        le=16,
        description="Texts drawn at random beside each one that is written, five say: how like they are tells how good "
        "it is better than its probability alone (CoCoA), and each takes as long as the text. 0: none.",
    )
    text_suggestions: int = Field(
        20, ge=0, le=1000, description="Tasks at the top for which a publication has texts written; 0: none."
    )
    text_seconds: float = Field(
        30, ge=0, le=90, description="Seconds that one `/predict` call may write; what is not ready then is blank."
    )

    retrain_after_labels: int = Field(20, ge=1, description="New labels that start a training.")
    retrain_after_seconds: float = Field(
        90, gt=0, description="Seconds of quiet that start a training when there are `RETRAIN_MIN_LABELS` new labels."
    )
    retrain_min_labels: int = Field(5, ge=1, description="New labels that a training after quiet needs.")
    train_steps: int = Field(
        200, ge=1, description="Updates of one LoRA training, at most: it ends where the loss is flat."
    )
    train_batch_size: int = Field(
        16,
        ge=1,
        description="Texts in one update: as many tasks, fewer (at least four) where each is a list of texts.",
    )
    train_tokens: int = Field(
        0,
        ge=0,
        description="Tokens (padding counted) of an update that are in memory at once; what is more is taken in "
        "portions. 0: on a CPU 1024, for choices (whose texts are compared with each other) 4096; on a GPU all, and "
        "less when its memory runs out.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of the adapter.")
    lora_rank: int = Field(8, ge=1, description="Rank of the LoRA adapter; alpha is twice that.")
    text_train_steps: int = Field(100, ge=1, description="Updates of one LoRA training of `TEXT_MODEL`, at most.")
    text_learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate of that adapter.")
    warm_start: float = Field(
        0,
        ge=0,
        le=1,
        description="Share of the active version's weights that a training starts from: 1 goes on with them, 0.5 "
        "shrinks them and adds fresh ones (shrink and perturb), 0 starts from scratch.",
    )
    average_versions: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Weight of the active version in the average of its weights and those that a training for "
        "`<Choices>` with one answer has made, where it knew six in ten of the labels and eight of each class on "
        "average; 0: a new version is what its training made.",
    )
    self_training: float = Field(
        0,
        ge=0,
        lt=1,
        description="Confidence above which the active version's answers to unlabelled tasks teach too, with half the "
        "weight, from 100 labels on (0.95, say); 0: they do not.",
    )
    seed: int = Field(0, ge=0, description="Seed of training and of all random choices.")

    strategy: str = Field("auto", description="How the next tasks are chosen.")
    control_weights: str = Field(
        "",
        description="What the uncertainty about each control counts for where a project has several, such as "
        "`topic=2,entities=1`; 1 where nothing is said.",
    )
    audit_share: float = Field(
        0.1, ge=0, le=0.5, description="Share of tasks kept for measuring: labelled in random order, never trained on."
    )
    window: int = Field(200, ge=10, le=5000, description="Tasks published to Label Studio at a time, best first.")
    fast_top: int = Field(8, ge=1, le=100, description="Tasks at the top that are re-sorted after each annotation.")
    suggest_above: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A suggestion is shown where annotators will keep it with a higher probability; else the task is "
        "blank. 0.5: a wrong one costs what a right one saves; 0: always shown.",
    )
    pool_candidates: int = Field(
        10_000, ge=100, description="Tasks that a new version scores; larger pools are cut by a cheap score first."
    )
    reconcile_seconds: float = Field(60, gt=0, description="Seconds between two comparisons with Label Studio.")

    max_body_mb: int = Field(64, ge=1, description="Largest request body.")
    max_tasks: int = Field(10_000, ge=1, description="Tasks in one `/predict` call.")
    max_text_chars: int = Field(1_000_000, ge=1, description="Characters in one text.")
    max_waiting: int = Field(8, ge=1, description="Predictions that may wait for the model before 503 is answered.")
    versions_in_memory: int = Field(4, ge=1, description="Versions kept loaded, over all projects.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lines below it are dropped.")

    @field_validator("label_studio_url")
    @classmethod
    def _without_credentials(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        if url.username or url.password:
            raise ValueError("it holds credentials, which would be sent in place of LABEL_STUDIO_API_KEY; remove them")
        return url

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, name: str) -> str:
        from backend.active.selection import parse  # numpy: only where a setting is read

        return parse(name).name

    @field_validator("control_weights")
    @classmethod
    def _readable_weights(cls, text: str) -> str:
        read_weights(text)
        return text

    @model_validator(mode="after")
    def _whole_basic(self) -> Self:
        """Half of it would leave the server open, or with an empty password."""
        if bool(self.basic_auth_user) != bool(self.basic_auth_password.get_secret_value()):
            raise ValueError("set both BASIC_AUTH_USER and BASIC_AUTH_PASSWORD, or neither")
        if ":" in self.basic_auth_user:
            raise ValueError("BASIC_AUTH_USER may hold no colon: HTTP Basic ends the user there")
        return self

    @cached_property
    def weights(self) -> dict[str, float]:
        """``CONTROL_WEIGHTS`` by name of the control."""
        return read_weights(self.control_weights)

    @property
    def studio_url(self) -> str:
        """Label Studio's address without a slash at the end."""
        return str(self.label_studio_url).rstrip("/")

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the registry."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'registry.sqlite'}"

    @property
    def jobs_database(self) -> str:
        """SQLAlchemy URL of the job engine: PostgreSQL is shared with the registry, SQLite has a file of its own."""
        if self.database_url and not self.database_url.startswith("sqlite"):
            return self.database_url
        return f"sqlite:///{self.data_dir.resolve() / 'jobs.sqlite'}"

    @property
    def storage(self) -> str:
        """Folder or URL that holds the versions."""
        return self.storage_url or str(self.data_dir.resolve() / "versions")

    @property
    def known_webhook_token(self) -> str:
        """The webhook's secret: the setting, or what the data folder holds; empty where neither is.

        Raises UserError where the file cannot be read.
        """
        path = self.data_dir / "webhook.secret"
        try:
            return self.webhook_secret.get_secret_value().strip() or path.read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.", _SECRET_HINT) from None

    @cached_property
    def webhook_token(self) -> str:
        """The same, made once for this data folder where there is none (file mode 0600): for servers only."""
        if not self.known_webhook_token:
            with FileLock(self.made_data_dir / "webhook.lock"):
                if not self.known_webhook_token:
                    path = self.data_dir / "webhook.secret"
                    fresh = path.with_suffix(".fresh")
                    with open(fresh, "w", opener=_private) as file:
                        file.write(secrets.token_urlsafe(32))
                    fresh.replace(path)  # whole or not there: an empty secret would let everybody in
        return self.known_webhook_token

    @property
    def address(self) -> str:
        """Host and port that our server listens at, as addresses have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def made_data_dir(self) -> Path:
        """The data folder, made if it is missing. Raises UserError where it cannot be written to."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"DATA_DIR {self.data_dir} cannot be made: {error.strerror}.", _FOLDER_HINT) from None
        if not os.access(self.data_dir, os.W_OK | os.X_OK):
            raise UserError(f"DATA_DIR {self.data_dir} cannot be written to.", _FOLDER_HINT)
        return self.data_dir


_FOLDER_HINT = "Point DATA_DIR to a folder that this program may write to."
_SECRET_HINT = "Run this as the user that the server runs as, or set WEBHOOK_SECRET."


def read_weights(text: str) -> dict[str, float]:
    """The weights of a text such as ``topic=2,entities=1``. Raises ValueError for one that is not at least 0."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, number = part.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            found[name.strip()] = -1.0
        if not name.strip() or not 0 <= found[name.strip()] < float("inf"):
            raise ValueError(f"{part!r} is no weight; expected name=number, such as topic=2")
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def load_settings(**overrides: object) -> Settings:
    """The settings of this process; ``overrides`` are command-line flags and win over the environment.

    Raises UserError that names each variable with a bad value.
    """
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(": ".join([*(str(name).upper() for name in e["loc"]), e["msg"]]) for e in error.errors())
        raise UserError(f"Bad setting: {problems}.", "Correct it in the environment or in .env.") from None
