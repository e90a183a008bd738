"""Options of the command for sources: where they may come from, what an archive may cost."""

from __future__ import annotations

from collections.abc import Sequence

from smartmob_agent.config import types as values
from smartmob_agent.config.setting import Option
from smartmob_agent.config.settings import AgentConfig

__all__ = ["SOURCE_OPTIONS"]

_DEFAULTS = AgentConfig()

SOURCE_OPTIONS: Sequence[Option] = (
    Option(
        name="download-timeout",
        field="total_timeout",
        metavar="S",
        parse=values.positive_seconds,
        default=_DEFAULTS.source.total_timeout,
        help="seconds for one download, redirects included",
        group="source",
    ),
    Option(
        name="download-idle-timeout",
        field="idle_timeout",
        metavar="S",
        parse=values.positive_seconds,
        default=_DEFAULTS.source.idle_timeout,
        help="seconds to connect, and between two pieces of a download",
        group="source",
    ),
    Option(
        name="download-redirects",
        field="redirects",
        metavar="N",
        parse=values.number,
        default=_DEFAULTS.source.redirects,
        help="redirects that one download follows",
        group="source",
    ),
    Option(
        name="download-resumes",
        field="resumes",
        metavar="N",
        parse=values.number,
        default=_DEFAULTS.source.resumes,
        help="tries in a row to go on with a download that was cut short",
        group="source",
    ),
    Option(
        name="source-allow",
        field="allow",
        metavar="RULE",
        parse=values.rule,
        default=_DEFAULTS.egress.allow,
        default_in_words="all but link-local addresses and metadata of clouds",
        help="host name, *.DOMAIN, address or network that sources may come from, and no other",
        group="egress",
        many=True,
    ),
    Option(
        name="source-deny",
        field="deny",
        metavar="RULE",
        parse=values.rule,
        default=_DEFAULTS.egress.deny,
        help="host name, *.DOMAIN, address or network that no source may come from",
        group="egress",
        many=True,
    ),
    Option(
        name="archive-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.source.archive_bytes,
        help="bytes of an archive as it comes",
        group="source",
    ),
    Option(
        name="min-free-bytes",
        metavar="N",
        parse=values.number,
        default=_DEFAULTS.source.min_free_bytes,
        help="bytes of the disk that sources leave free",
        group="source",
    ),
    Option(
        name="unpack-timeout",
        metavar="S",
        parse=values.positive_seconds,
        default=_DEFAULTS.source.unpack_timeout,
        help="seconds to unpack one archive",
        group="source",
    ),
    Option(
        name="unpacked-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.source.unpacked_bytes,
        help="bytes of all files of an archive together",
        group="source",
    ),
    Option(
        name="unpacked-ratio",
        metavar="N",
        parse=values.ratio,
        default=_DEFAULTS.source.unpacked_ratio,
        help="bytes of all files for each byte of their archive; the first 64 MiB do not count",
        group="source",
    ),
    Option(
        name="unpacked-members",
        field="members",
        metavar="N",
        parse=values.count,
        default=_DEFAULTS.source.members,
        help="files, directories and links of one archive",
        group="source",
    ),
    Option(
        name="path-depth",
        metavar="N",
        parse=values.count,
        default=_DEFAULTS.source.path_depth,
        help="directories above a member of an archive, itself included",
        group="source",
    ),
    Option(
        name="path-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.source.path_bytes,
        help="bytes of a member's path",
        group="source",
    ),
    Option(
        name="procfile-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.source.procfile_bytes,
        help="bytes of a Procfile",
        group="source",
    ),
    Option(
        name="cache-dir",
        metavar="DIR",
        parse=values.path,
        default=_DEFAULTS.cache.cache_dir,
        default_in_words="in the work directory, removed at exit",
        help="where archives are kept; several agents may share it",
        group="cache",
    ),
    Option(
        name="cache-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.cache.cache_bytes,
        help="bytes of all archives that are kept",
        group="cache",
    ),
    Option(
        name="upload-timeout",
        metavar="S",
        parse=values.positive_seconds,
        default=_DEFAULTS.cache.upload_timeout,
        help="seconds for which an upload is kept without being used",
        group="cache",
    ),
)
