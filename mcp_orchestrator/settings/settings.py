"""Every setting of the program, in one class."""

from decimal import Decimal
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mcp_orchestrator.settings.sources import PREFIX, CommaSeparated, Paths, also, config_file


class Settings(BaseSettings):
    """All settings; see the README for what each part needs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        validate_default=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("mcp-orchestrator"),
        description="Folder of the SQLite file and of what loops deliver.",
    )
    transport: Literal["stdio", "http", "sse"] = Field(
        default="stdio", description="stdio; http serves /mcp and /sse; sse serves /sse only."
    )
    host: str = Field(default="127.0.0.1", description="Address that http and sse listen on.")
    port: int = Field(default=8765, ge=0, le=65535, description="Port; 0 takes a free one.")
    allow_remote_without_auth: bool = Field(
        default=False, description="Listen on other addresses than loopback without sign-in."
    )
    auth: CommaSeparated[Literal["token", "oauth"]] = Field(
        default_factory=list[Literal["token", "oauth"]],
        description="How clients sign in over http and sse: token (see `token create`), oauth,"
        " or both, separated by a comma; nobody signs in where it is empty.",
    )
    public_url: str | None = Field(
        default=None, description="The address that clients use, such as https://mcp.example.com."
    )
    replica_url: str | None = Field(
        default=None,
        description="Where other servers behind the same address reach this one, such as"
        " http://10.0.0.5:8765; requests of its sessions are then handed on to it.",
    )
    oauth_issuer: str | None = Field(
        default=None, description="The authorization server whose access tokens are accepted."
    )
    oauth_audience: str | None = Field(
        default=None, description="What they must be issued for; by default public_url with /mcp."
    )
    oauth_jwks_url: str | None = Field(
        default=None, description="Its public keys; found by its metadata if left out."
    )
    allowed_hosts: CommaSeparated[str] = Field(
        default_factory=list[str],
        description="More names that requests may carry in Host, each NAME, NAME:PORT or NAME:*,"
        " separated by commas; a single * allows any.",
    )
    allowed_origins: CommaSeparated[str] = Field(
        default_factory=list[str],
        description="Web origins besides the server's own that may call it, such as"
        " https://app.example.com, separated by commas.",
    )
    trusted_proxies: CommaSeparated[str] = Field(
        default_factory=list[str],
        description="Addresses of proxies whose X-Forwarded-For is believed.",
    )
    requests_per_minute: int | None = Field(
        default=1200, ge=1, description="Requests of one signed-in principal to one server."
    )
    toolsets: CommaSeparated[str] = Field(
        default=["default"],
        description="Toolsets shown to clients, separated by commas: default, all, queue, saga,"
        " sandbox, reasoning, codegen, loop, admin, or a pack's name.",
    )
    tools: CommaSeparated[str] = Field(
        default_factory=list[str], description="More tools to show, by name."
    )
    longest_call_seconds: float = Field(
        default=50.0,
        gt=0,
        le=3600,
        description="A long call that has not ended by then is answered with the id to ask for.",
    )
    read_only: bool = Field(
        default=False, description="Show only tools that change nothing; wins over the two above."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="How much is logged, to stderr."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or a JSON object a line."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port for Prometheus, for `worker` and for servers over stdio; 0 takes a free"
        " one. It asks for no token. `serve --transport http` has /metrics besides.",
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address of that port.")
    otlp_endpoint: str | None = Field(
        default=None,
        validation_alias=also("OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OpenTelemetry collector that traces are sent to, such as"
        " http://127.0.0.1:4318; needs the extra `traces`.",
    )

    database_url: SecretStr | None = Field(
        default=None,
        validation_alias=also("DATABASE_URL", "DATABASE_URL"),
        description="sqlite:///FILE or postgresql://…; by default a file in data_dir.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=also("REDIS_URL", "REDIS_URL"),
        description="Redis for the queue; without it the queue lives in the database.",
    )

    embedded_worker: bool = Field(default=True, description="Run queued tasks inside the server.")
    worker_concurrency: int = Field(default=10, ge=1, le=1000, description="Tasks at once.")
    worker_types: CommaSeparated[str] = Field(
        default_factory=list[str],
        description="Run only tasks of these types: patterns, separated by commas.",
    )
    grace_seconds: float = Field(
        default=0.5, ge=0, description="How long running tasks may go on when a server ends."
    )
    worker_grace_seconds: float = Field(
        default=10.0, ge=0, description="The same for `worker` processes."
    )
    task_lease_seconds: float = Field(default=30.0, gt=0, description="Lease on a queued task.")
    saga_lease_seconds: float = Field(default=10.0, gt=0, description="Lease on a running saga.")

    saga_max_concurrent: int = Field(
        default=1000, ge=1, description="Sagas that one process runs at once."
    )
    saga_max_takeovers: int = Field(
        default=5, ge=1, description="Runners that may die with a saga before it is set aside."
    )
    master_key: SecretStr | None = Field(
        default=None,
        description="Encrypts sagas: 64 hexadecimal digits; older keys after commas still open.",
    )
    master_key_file: Path | None = Field(
        default=None,
        description="The same from a file, a key a line, read again when it changes.",
    )
    audit_key_file: Path | None = Field(
        default=None, description="File with the secret that signs anchors of the audit trail."
    )
    audit_anchor_seconds: float = Field(
        default=3600.0, ge=1, description="How often a server signs what has happened since."
    )
    audit_verify_seconds: float = Field(
        default=86_400.0,
        ge=0,
        description="How often a process verifies the audit trail, for its metrics; 0 for never.",
    )
    packs: Paths = Field(
        default_factory=list[Path],
        description="More folders of packs, separated like PATH.",
    )

    sandbox: Literal["auto", "docker", "bubblewrap"] = Field(
        default="auto", description="Docker if an engine answers, else bubblewrap; or one of them."
    )
    sandbox_image: str = Field(
        default="mcp-orchestrator-sandbox:latest", description="Image of the Docker sandbox."
    )
    sandbox_runtime: str = Field(
        default="auto",
        description="What Docker runs containers by: auto (gVisor's runsc where the engine offers"
        " it), or a runtime's name.",
    )
    sandbox_profiles: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="More profiles, as JSON: by name an image (Docker), or the folder of a virtual"
        " environment (bubblewrap). `data` is there once `sandbox build` has made it.",
    )
    sandbox_preload: list[str] = Field(
        default=["numpy", "pandas", "matplotlib.pyplot"],
        description="What waiting workers of these profiles import ahead, where it is there.",
    )
    sandbox_warm: int = Field(default=2, ge=0, le=64, description="Started workers that wait.")
    sandbox_nursery: bool = Field(
        default=True,
        description="Whether bubblewrap's plain workers are forked from a Python that has started,"
        " at a third of the cost, where the kernel allows; else bwrap starts each.",
    )
    sandbox_concurrency: int = Field(
        default=8, ge=1, le=256, description="Runs at the same time; more wait their turn."
    )
    sandbox_sessions: int = Field(
        default=8, ge=0, le=256, description="Sandbox sessions that may be open at a time."
    )
    sandbox_session_idle_seconds: float = Field(
        default=600.0, ge=1, description="After so long without a run a session is closed."
    )
    sandbox_keep_days: float = Field(
        default=7.0, ge=0, description="How long files made by runs are kept; their hashes stay."
    )
    sandbox_allow_risky: bool = Field(
        default=False, description="Whether callers may have refused programs run all the same."
    )
    sandbox_risk_strict: int = Field(
        default=30, ge=0, le=101, description="Risk score from which a program gets tighter limits."
    )
    sandbox_risk_refuse: int = Field(
        default=60,
        ge=0,
        le=101,
        description="Risk score from which a program is refused.",
    )
    docker_host: str | None = Field(
        default=None,
        validation_alias=also("DOCKER_HOST", "DOCKER_HOST"),
        description="Address of the Docker engine; by default the local socket.",
    )

    perplexity_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=also("PERPLEXITY_API_KEY", "PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        description="Turns Perplexity on for reasoning.",
    )
    perplexity_base_url: str = Field(
        default="https://api.perplexity.ai",
        validation_alias=also("PERPLEXITY_BASE_URL", "PERPLEXITY_BASE_URL"),
    )
    perplexity_protocol: Literal["agent", "sonar"] = Field(
        default="agent", description="The Agent API, or Sonar chat completions."
    )
    perplexity_effort: Literal["fast", "low", "medium", "high", "xhigh"] = Field(default="medium")
    perplexity_model: str | None = Field(
        default=None,
        validation_alias=also("PERPLEXITY_MODEL", "PERPLEXITY_MODEL"),
        description="A model by name in place of the effort.",
    )

    deepseek_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=also("DEEPSEEK_API_KEY", "DEEPSEEK_API_KEY"),
        description="Turns DeepSeek on for code.",
    )
    deepseek_base_url: str = Field(
        default="https://api.deepseek.com",
        validation_alias=also("DEEPSEEK_BASE_URL", "DEEPSEEK_BASE_URL"),
        description="Any OpenAI-compatible server may stand here.",
    )
    deepseek_model: str = Field(
        default="deepseek-flash",
        validation_alias=also("DEEPSEEK_MODEL", "DEEPSEEK_MODEL"),
    )
    deepseek_input_price: Decimal = Field(default=Decimal(1), description="CNY per million tokens.")
    deepseek_cached_price: Decimal = Field(default=Decimal("0.02"))
    deepseek_output_price: Decimal = Field(default=Decimal(4))
    deepseek_peak_hours: str = Field(
        default="01:00-04:00,06:00-10:00",
        description="Hours, in UTC and on weekdays, in which DeepSeek costs more; empty for none.",
    )
    deepseek_peak_factor: Decimal = Field(
        default=Decimal(2), ge=1, description="How many times the price it costs then."
    )

    provider_timeout_seconds: float = Field(
        default=900.0, gt=0, description="One model call, from beginning to end."
    )
    provider_concurrency: int = Field(
        default=32, ge=1, description="Calls to one provider under way at once."
    )
    provider_calls_per_minute: int | None = Field(
        default=None, ge=1, description="Calls to one provider begun in a minute."
    )
    sampling_timeout_seconds: float = Field(
        default=600.0, gt=0, description="How long a loop waits for the client's own model."
    )
    answer_cache: bool = Field(default=False, description="Answer equal requests from the store.")
    answer_cache_seconds: float = Field(default=86_400.0, gt=0)
    answer_cache_size: int = Field(default=10_000, ge=1, description="Answers kept at most.")
    budget_call_tokens: int | None = Field(
        default=None, ge=1, description="Tokens that one call may take, read and written."
    )
    budget_call_money: Decimal | None = Field(
        default=None, ge=0, description="Money that one call may cost, where prices are known."
    )
    budget_saga_calls: int | None = Field(
        default=None, ge=0, description="Model calls of one saga or loop; likewise below."
    )
    budget_saga_tokens: int | None = Field(default=None, ge=0)
    budget_saga_money: Decimal | None = Field(default=None, ge=0)
    budget_day_calls: int | None = Field(
        default=None, ge=0, description="Model calls of one owner since midnight UTC."
    )
    budget_day_tokens: int | None = Field(default=None, ge=0)
    budget_day_money: Decimal | None = Field(default=None, ge=0)
    budget_currency: str = Field(
        default="CNY", description="What budgets in money count; other currencies do not."
    )
    record_providers: Path | None = Field(
        default=None, description="Append all provider traffic, without secrets, to this file."
    )
    replay_providers: Path | None = Field(
        default=None, description="Answer provider requests from such a file, never the network."
    )
    loop_approval_risk: int = Field(
        default=30,
        ge=0,
        le=101,
        description="Risk score from which a person is asked before a loop's program is delivered;"
        " 101 for never.",
    )
    loop_concurrency: int = Field(
        default=4, ge=1, le=16, description="Candidates that one loop asks for at once."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the TOML file below the environment."""
        toml = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, dotenv_settings, toml, file_secret_settings

    @property
    def sandbox_environments(self) -> Path:
        """Where `sandbox build` makes the virtual environments of bubblewrap's profiles."""
        return self.data_dir / "profiles"

    @property
    def store_url(self) -> str:
        """Return the database URL, or that of the SQLite file in the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir / 'orchestrator.db'}"

    @property
    def has_coder(self) -> bool:
        """Tell whether a provider for code is configured: a key, or a server of one's own."""
        return self.deepseek_api_key is not None or not self.uses_deepseek_itself

    @property
    def uses_deepseek_itself(self) -> bool:
        """Tell whether the base URL is the vendor's, not another server's."""
        host = urlsplit(self.deepseek_base_url).hostname or ""
        return host == "deepseek.com" or host.endswith(".deepseek.com")

    @property
    def has_reasoner(self) -> bool:
        """Tell whether a provider for reasoning is configured."""
        return self.perplexity_api_key is not None or self.has_coder
