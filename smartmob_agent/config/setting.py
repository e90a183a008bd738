"""A setting: a field of the config that tells its range, its option and what it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from smartmob_agent.config.types import SettingType

__all__ = ["Setting", "check_settings", "setting", "settings_of"]

_KEY = "smartmob_setting"


@attrs.frozen(kw_only=True)
class _Info:
    """What a field tells in its metadata; see `setting`."""

    type: SettingType
    help: str
    section: str
    option: str
    metavar: str
    default_in_words: str
    many: bool
    why_no_option: str


def setting(
    type_: SettingType,
    help_: str,
    *,
    section: str = "",
    option: str = "",
    metavar: str = "",
    default_in_words: str = "none",
    many: bool = False,
    why_no_option: str = "",
) -> Mapping[str, Any]:
    """Return the metadata of a field that is a setting.

    help_: says what it is for, in a sentence.
    section: of the help of the command.
    option: its name without dashes, unless it is that of the field.
    metavar: stands for the value, unless the type's own does.
    default_in_words: says what a default of None or of no values means.
    many: the option may be given more than once, and the field is a tuple.
    why_no_option: why operators cannot set it; only programs that embed the agent can then.
    """
    return {
        _KEY: _Info(
            type=type_,
            help=help_,
            section=section,
            option=option,
            metavar=metavar or type_.metavar,
            default_in_words=default_in_words,
            many=many,
            why_no_option=why_no_option,
        )
    }


@attrs.frozen(kw_only=True)
class Setting:
    """A setting, and where it is.

    group: the field of the config that has it as one of its own fields; empty for the config's own.
    field: its name there.
    default: its value when nothing is said.
    """

    group: str
    field: str
    default: Any
    info: _Info

    @property
    def name(self) -> str:
        """Its name as an option, without dashes."""
        return self.info.option or self.field.replace("_", "-")

    @property
    def key(self) -> str:
        """Its name as an identifier."""
        return self.name.replace("-", "_")

    @property
    def has_option(self) -> bool:
        return not self.info.why_no_option

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that stands in for the option."""
        return f"SMARTMOB_{self.key.upper()}"

    @property
    def shown_default(self) -> str:
        """The default in words, or with its unit."""
        if self.default is None or self.default == ():
            return self.info.default_in_words
        return self.info.type.show(self.default)


def settings_of(cls: type[attrs.AttrsInstance], group: str = "") -> Iterator[Setting]:
    """Go through the settings of a class and of the classes that its fields hold."""
    for field in attrs.fields(cls):
        if _KEY in field.metadata:
            info = field.metadata[_KEY]
            yield Setting(group=group, field=field.name, default=field.default, info=info)
        else:
            yield from settings_of(getattr(field.default, "factory"), field.name)  # noqa: B009


def check_settings(_cls: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Let each field check its range: a `field_transformer` of attrs."""
    return [
        field.evolve(validator=_checker(field.metadata[_KEY])) if _KEY in field.metadata else field
        for field in fields
    ]


def _checker(info: _Info) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        values = value if info.many else () if value is None else (value,)
        for one in values:
            try:
                info.type.check(one)
            except ValueError as exc:
                raise ValueError(f"{attribute.name}: {exc}") from exc

    return check
