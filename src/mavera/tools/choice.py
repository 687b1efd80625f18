"""
Choose the server tools and their providers according to the settings.

This module imports a provider with optional packages by name, and only if it is set up. If a package is
missing, the server does not start, and the error has the command that installs it.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

from mavera.errors import ConfigurationError
from mavera.extras import Extra, describe_missing_extra
from mavera.fetch.guarded_fetch import GuardedFetch
from mavera.fetch.page_reader import PageReader, is_installed
from mavera.media.files import FolderFiles, MediaFiles
from mavera.media.store import MediaStore
from mavera.settings import Settings
from mavera.tools.making.edit_image import EditImageTool
from mavera.tools.making.generate_image import GenerateImageTool
from mavera.tools.making.generate_video import GenerateVideoTool
from mavera.tools.making.given_images import GivenImages
from mavera.tools.making.image_to_video import ImageToVideoTool
from mavera.tools.making.images_server import ImagesServer
from mavera.tools.making.video import NoVideo, VideoJobs, VideoLimits, VideoProvider
from mavera.tools.mcp.config import load_mcp_config
from mavera.tools.search.index import SearchIndex
from mavera.tools.search.searxng import SearXNG
from mavera.tools.search.tavily_extract import ExtractProvider, FetchedPages, TavilyExtractTool
from mavera.tools.search.tavily_search import SearchProvider, TavilySearchTool
from mavera.tools.tool import Tool
from mavera.tools.toolbox import ToolSource

OWN_TOOLS: tuple[str, ...] = tuple(
    kind.name
    for kind in (
        TavilySearchTool,
        TavilyExtractTool,
        GenerateImageTool,
        EditImageTool,
        GenerateVideoTool,
        ImageToVideoTool,
    )
)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that tools share with the rest of the server."""

    fetch: GuardedFetch
    media: MediaStore


def choose_tools(settings: Settings, parts: Parts) -> list[Tool]:
    """Return the server tools. A tool that is not set up has no provider. Raises ConfigurationError."""
    return [*make_lookup_tools(settings, parts.fetch), *_make_media_tools(settings, parts)]


def make_lookup_tools(settings: Settings, fetch: GuardedFetch) -> list[Tool]:
    """Return the tools that need no store: search and extract."""
    seconds = settings.tools_timeout_seconds
    search: SearchProvider = SearchIndex(settings.search_index_path)
    reads = settings.fetch_enabled and is_installed()
    extract: ExtractProvider = FetchedPages(fetch, PageReader(), enabled=reads)
    if settings.searxng_url:
        search = SearXNG(_check_http_url("MAVERA_SEARXNG_URL", settings.searxng_url))
    if settings.tavily_api_key:
        tavily = import_optional("mavera.tools.search.tavily", "MAVERA_TAVILY_API_KEY", "tools")
        base_url = _check_http_url("MAVERA_TAVILY_BASE_URL", settings.tavily_base_url)
        search = extract = tavily.Tavily(settings.tavily_api_key, base_url, timeout_seconds=seconds)
    # Without a key, it reads the pages that a search found. Without a search, only callers that name it get
    # it.
    unasked = bool(settings.tavily_api_key or settings.searxng_url)
    return [
        TavilySearchTool(search, timeout_seconds=seconds),
        TavilyExtractTool(extract, timeout_seconds=seconds, unasked=unasked),
    ]


def _make_media_tools(settings: Settings, parts: Parts) -> list[Tool]:
    if settings.images_base_url:
        _check_http_url("MAVERA_IMAGES_BASE_URL", settings.images_base_url)
    server = ImagesServer(settings, parts.fetch)
    given = GivenImages(parts.fetch, parts.media)
    provider: VideoProvider = NoVideo()
    if settings.runway_api_key:
        _check_http_url("MAVERA_RUNWAY_BASE_URL", settings.runway_base_url)
        provider = import_optional("mavera.tools.making.runway", "MAVERA_RUNWAY_API_KEY", "tools").Runway(
            settings
        )
    limits = VideoLimits(settings.runway_poll_seconds, settings.runway_job_seconds, settings.media_max_bytes)
    jobs = VideoJobs(provider, parts.media, parts.fetch, limits)
    image_seconds, seconds = settings.images_timeout_seconds, settings.tools_timeout_seconds
    return [
        GenerateImageTool(server, parts.media, timeout_seconds=image_seconds),
        EditImageTool(server, parts.media, given, timeout_seconds=image_seconds),
        GenerateVideoTool(jobs, timeout_seconds=seconds),
        ImageToVideoTool(jobs, given, timeout_seconds=seconds),
    ]


def open_tool_sources(settings: Settings) -> list[ToolSource]:
    """Return the MCP servers. Raises ConfigurationError."""
    configs = load_mcp_config(settings.resolved_mcp_config, required=settings.mcp_config is not None)
    if not configs:
        return []
    module = import_optional("mavera.tools.mcp.servers", str(settings.resolved_mcp_config), "mcp")
    servers: list[ToolSource] = module.build_mcp_servers(configs)
    return servers


def choose_media_files(settings: Settings) -> MediaFiles:
    """Return the storage of images and videos. Raises ConfigurationError."""
    half = bool(settings.s3_access_key_id) != bool(settings.s3_secret_access_key)
    named = settings.s3_endpoint_url or settings.s3_access_key_id or settings.s3_secret_access_key
    if not settings.s3_bucket:
        if named:
            raise ConfigurationError("MAVERA_S3_BUCKET is not set. Without it, media are kept in a folder.")
        return FolderFiles(settings.resolved_media_dir)
    if half:
        raise ConfigurationError(
            "MAVERA_S3_ACCESS_KEY_ID and MAVERA_S3_SECRET_ACCESS_KEY belong together: set both or neither."
        )
    if settings.s3_endpoint_url:
        _check_http_url("MAVERA_S3_ENDPOINT_URL", settings.s3_endpoint_url)
    files: MediaFiles = import_optional("mavera.media.bucket", "MAVERA_S3_BUCKET", "s3").S3Files(settings)
    return files


def import_optional(module: str, setting: str, extra: Extra) -> ModuleType:
    """Import a module of ours that needs optional packages. Raises ConfigurationError without them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(describe_missing_extra(extra, setting)) from error


def _check_http_url(setting: str, url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{setting} has to begin with http:// or https://.")
    return url
