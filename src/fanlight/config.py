"""All settings in one frozen object, read once: flag, then FANLIGHT_* in the environment, then one TOML file, then default.

The only module that reads the environment.
"""

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from fanlight.region_engines import Engine, ReadRegionEngine, engines_of

DEFAULT_DATA_DIR = Path("/var/lib/fanlight")
_ENDPOINT = re.compile(r"vpce-[A-Za-z0-9-]{1,64}")


def config_path() -> Path | None:
    """Return the TOML file that FANLIGHT_CONFIG names, if any."""
    path = os.environ.get("FANLIGHT_CONFIG")
    return Path(path) if path else None


IMAGE_ARCHIVES = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9._/-]*\{account\}[A-Za-z0-9._/-]*/")

# What reaches a listener that listens everywhere.
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def url_host(address: str) -> str:
    """Return the address as it stands in a URL: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


class Settings(BaseSettings):
    """Every field is a flag of `fanlight serve` (dashes), an environment variable (FANLIGHT_ + upper case) and a TOML key."""

    model_config = SettingsConfigDict(env_prefix="FANLIGHT_", frozen=True, extra="ignore")

    compute: Literal["incus", "simulated"] = Field("incus", description="Engine that runs the instances.")
    data_dir: Path = Field(DEFAULT_DATA_DIR, description="Everything that must survive: database, keys, images, logs.")
    run_dir: Path | None = Field(
        None,
        description="Sockets and socket directories; gone after a reboot. Default: /run/fanlight for root with the default data directory, else DIR/run. Keep it short: a socket path has at most 107 bytes.",
    )
    host: str = Field("127.0.0.1", description="Address that API and portal listen on.")
    api_port: int = Field(8081, ge=0, le=65535, description="Port of the API, and of /metrics.")
    portal_port: int = Field(8080, ge=0, le=65535, description="Port of the portal, where streaming URLs lead.")
    console_port: int = Field(8082, ge=0, le=65535, description="Kept free for the console; nothing listens yet.")
    public_url: str | None = Field(
        None,
        description="How browsers reach the portal, e.g. https://apps.example.org, when a reverse proxy stands in front.",
    )
    public_api_url: str | None = Field(
        None, description="How clients reach the API, when a reverse proxy stands in front."
    )
    trusted_proxies: tuple[str, ...] = Field((), description="Addresses whose X-Forwarded-For and -Proto are believed.")
    access_endpoints: tuple[str, ...] = Field(
        (),
        description="Interface endpoints that stacks may name in AccessEndpoints, each as ID=NETWORK (vpce-office=10.8.0.0/16): users of such a stack are let in from these networks alone. An ID with several networks is given several times.",
    )
    max_connections_per_address: int = Field(
        1024,
        ge=0,
        description="Connections that the portal holds of one address at a time (IPv6: of one /64), further ones are refused with 429; 0: any number. Of trusted_proxies it holds any number.",
    )
    tls_cert: Path | None = Field(None, description="Certificate with its chain (PEM), for API and portal.")
    tls_key: Path | None = Field(None, description="Its private key (PEM), readable for the group fanlight.")
    database_url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite in the data directory.")
    account_id: str = Field("000000000000", pattern=r"^\d{12}$", description="Account of the bootstrap key.")
    regions: tuple[str, ...] = Field(
        ("us-east-1", "us-west-2", "eu-west-1"),
        description="Regions that requests may be signed for; their data is kept apart.",
    )
    bootstrap_access_key_id: str | None = Field(
        None, description="Fixes the first key instead of making one in DIR/credentials."
    )
    bootstrap_secret_access_key: str | None = Field(
        None, repr=False, description="Its secret. Better in the environment: command lines can be read by others."
    )
    quotas: str = Field(
        "off",
        description="What an account may have in a region: off, aws (AppStream's defaults), or AppStream's names with numbers: aws,Active fleets=50,Standard large streaming instances for fleets=4.",
    )
    throttle_reads_per_second: float = Field(
        0.0, ge=0, description="Describe, Get and List requests of one access key before it is throttled; 0: never."
    )
    throttle_writes_per_second: float = Field(
        0.0, ge=0, description="All other requests of one access key before it is throttled; 0: never."
    )
    capacity_wait_in_seconds: float = Field(
        30.0, ge=0, description="How long a user waits for a free instance before the refusal."
    )
    nimble_eulas_file: Path | None = Field(
        None,
        description="TOML file with the licence agreements that images come with in Nimble Studio (see docs/nimble.md).",
    )
    nimble_file_systems_file: Path | None = Field(
        None,
        description="TOML file that says which directories of this host are the shared file systems of Nimble Studio's components (see docs/nimble.md); readable for the group fanlight.",
    )
    nimble_deleted_kept_in_seconds: float = Field(
        1800.0,
        gt=0,
        description="How long what was deleted from Nimble Studio stays readable as DELETED. The longest waiter of "
        "its clients waits half an hour, and takes an error for a failure.",
    )
    expired_sessions_kept_in_seconds: float = Field(
        3600.0, ge=0, description="How long DescribeSessions lists EXPIRED sessions."
    )
    unsent_files_kept_in_hours: float = Field(
        24.0,
        gt=0,
        description="How long an instance stays after its session to send files of home folders that could not be sent; then they are given up, and the log says how many.",
    )
    metrics_kept_in_seconds: float = Field(
        1_296_000.0,
        ge=86_400,
        description="How long the metrics of fleets are kept, one datum a minute; 15 days as AWS.",
    )
    max_clock_skew_in_seconds: float = Field(
        900.0, description="How far a client's clock may be off before its signature is refused."
    )
    # Storage
    s3_endpoint_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="S3 endpoint that keeps users' files and exported images; default: one of Fanlight's own, which serves DATA_DIR/storage/buckets.",
    )
    s3_access_key_id: str | None = Field(None, description="Access key for that endpoint.")
    s3_secret_access_key: str | None = Field(None, repr=False, description="Its secret; better in the environment.")
    s3_region: str = Field("us-east-1", description="Region that requests to that endpoint are signed for.")
    s3_port: int = Field(8083, ge=0, le=65535, description="Port of Fanlight's own S3 endpoint.")
    home_folder_quota_in_mib: int = Field(
        0, ge=0, description="How much each user may keep in the home folder, in MiB; 0: any amount."
    )
    application_settings_limit_in_mib: int = Field(
        1024,
        ge=1,
        description="How much a user's settings of applications may be, in MiB; larger ones are not kept.",
    )
    google_drive_client_id: str | None = Field(
        None,
        min_length=1,
        description="OAuth client of this installation at Google; stacks may have GOOGLE_DRIVE then.",
    )
    google_drive_client_secret: str | None = Field(
        None, min_length=1, repr=False, description="Its secret; better in the environment."
    )
    one_drive_client_id: str | None = Field(
        None, min_length=1, description="OAuth client at Microsoft; stacks may have ONE_DRIVE then."
    )
    one_drive_client_secret: str | None = Field(
        None, min_length=1, repr=False, description="Its secret; better in the environment."
    )
    one_drive_tenant: str = Field(
        "organizations",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$",
        description="Directory at Microsoft whose accounts may be used: its id or domain; default: that of any organisation.",
    )
    drives_proxy_url: str | None = Field(
        None,
        pattern=r"^http://\S+$",
        repr=False,
        description="HTTP proxy through which this host reaches Google and Microsoft; with a password in it better in the environment.",
    )
    image_archives: str = Field(
        "fanlight-images/{account}/",
        description="Bucket and prefix in which accounts keep archives of images, with {account} for each one's own: imported from there, exported to there.",
    )
    # Incus
    incus_socket: Path = Field(Path("/var/lib/incus/unix.socket"), description="Where Incus listens.")
    incus_project: str = Field(
        "fanlight", pattern=r"^[a-z][a-z0-9-]{0,30}$", description="Incus project that holds everything Fanlight makes."
    )
    incus_network: str = Field(
        "fanlight0", pattern=r"^[a-z][a-z0-9-]{0,14}$", description="Bridge that Fanlight makes."
    )
    incus_subnet: str = Field("10.124.0.1/16", description="Address of the host on that bridge.")
    networks_file: Path | None = Field(
        None,
        description="TOML file that names the subnets and security groups of fleets (see Networks); readable for the group fanlight.",
    )
    image_update_subnet: str | None = Field(
        None,
        description="Subnet of the networks file in which images are updated, where their package repositories are not on the internet.",
    )
    incus_pool: str = Field("fanlight", description="Storage pool; made if it is not there, btrfs if possible.")
    incus_pool_size_in_gib: int = Field(
        30, ge=5, description="Largest size of the pool that is made; less if the disk has less."
    )
    region_engines: tuple[ReadRegionEngine, ...] = Field(
        (),
        description="Engines that regions have for themselves (see Regions and engines), each as REGION:project=NAME,pool=NAME; in another Incus of this host with socket, network and subnet besides. Other regions have the engine above.",
    )
    debian_mirror: str = Field(
        "http://deb.debian.org/debian",
        pattern=r"^https?://\S+$",
        description="Where image builds get Debian packages.",
    )
    # Simulated
    boot_seconds: float = Field(0.0, ge=0, description="How long a simulated instance takes to boot.")
    # Unprivileged users of the processes, when started by root
    api_user: str = Field("fanlight", description="User of the api process.")
    gateway_user: str = Field("fanlight-gateway", description="User of the gateway process.")
    storage_user: str = Field("fanlight-storage", description="User of the storage process.")
    log_format: Literal["text", "json"] = Field("text", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    @model_validator(mode="after")
    def _have_a_key_for_storage(self) -> Self:
        if self.s3_endpoint_url and not (self.s3_access_key_id and self.s3_secret_access_key):
            raise ValueError("s3_endpoint_url needs s3_access_key_id and s3_secret_access_key")
        return self

    @field_validator("image_archives")
    @classmethod
    def _keep_accounts_apart(cls, pattern: str) -> str:
        if not IMAGE_ARCHIVES.fullmatch(pattern) or ".." in pattern or "//" in pattern:
            raise ValueError("must be BUCKET/PREFIX/ with {account} in the prefix, such as fanlight-images/{account}/")
        return pattern

    @field_validator("data_dir", "run_dir", mode="before")
    @classmethod
    def _name_directories(cls, given: object) -> object:
        if given == "":  # a variable that is set to nothing; Path would take it for the working directory
            raise ValueError("must name a directory; leave it unset for the default")
        return given

    @field_validator("access_endpoints")
    @classmethod
    def _name_networks(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            endpoint, _, network = entry.partition("=")
            if not _ENDPOINT.fullmatch(endpoint):
                raise ValueError("an interface endpoint is written vpce-NAME=NETWORK")
            ip_network(network)
        return entries

    @model_validator(mode="after")
    def _keep_engines_apart(self) -> Self:
        engines_of(self)
        if self.region_engines and self.compute == "simulated":
            raise ValueError("region_engines: the simulated engine serves every region")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env files: one TOML file is enough
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = config_path()
        toml = (TomlConfigSettingsSource(settings_cls, toml_file=path),) if path else ()
        return (init_settings, env_settings, *toml)

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Return the engines of this installation, the common one first."""
        return engines_of(self)

    @property
    def endpoint_networks(self) -> dict[str, tuple[str, ...]]:
        """Return id → networks of the interface endpoints."""
        found: dict[str, tuple[str, ...]] = {}
        for entry in self.access_endpoints:
            endpoint, _, network = entry.partition("=")
            found[endpoint] = (*found.get(endpoint, ()), network)
        return found

    @property
    def effective_run_dir(self) -> Path:
        if self.run_dir:
            return self.run_dir
        return (
            Path("/run/fanlight")
            if self.data_dir == DEFAULT_DATA_DIR and self.compute == "incus"
            else self.data_dir / "run"
        )

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'state' / 'fanlight.db'}"

    @property
    def portal_url(self) -> str:
        """The origin of the portal as browsers see it, without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        scheme = "https" if self.tls_cert else "http"
        shown = "localhost" if self.host in ("127.0.0.1", *LOOPBACK_OF, "::1") else url_host(self.host)
        return f"{scheme}://{shown}:{self.portal_port}"

    @property
    def effective_s3_endpoint_url(self) -> str:
        """Where users' files are: the configured endpoint, or our own as clients on this host reach it."""
        if self.s3_endpoint_url:
            return self.s3_endpoint_url
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{url_host(LOOPBACK_OF.get(self.host, self.host))}:{self.s3_port}"

    @property
    def api_url(self) -> str:
        if self.public_api_url:
            return self.public_api_url.rstrip("/")
        scheme = "https" if self.tls_cert else "http"
        shown = url_host(LOOPBACK_OF.get(self.host, self.host))
        return f"{scheme}://{shown}:{self.api_port}"
