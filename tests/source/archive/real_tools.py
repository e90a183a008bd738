"""Archives as real programs make them: each is a script of the shell, and how it ends.

A script runs in the tree that it packs, and writes to `$out`; `$tmp` is a directory of its own.
`$base` has what is beside the tree: files with many holes, and a repository of the tree.
"""

from __future__ import annotations

import itertools
import shlex

import attrs

__all__ = ["REAL_ARCHIVES", "RealArchive"]


@attrs.frozen(kw_only=True)
class RealArchive:
    """An archive of a real program.

    what: what it is.
    tools: programs that make it, and the one that unpacks it.
    script: makes it.
    unpack: unpacks `$out` into the working directory, as its own program does it.
    error: what our error says, if it is refused.
    documented: words of the documentation that say so.
    is_slow: whether its program takes half a second.
    """

    what: str
    tools: tuple[str, ...]
    script: str
    unpack: str
    error: str = ""
    documented: str = ""
    is_slow: bool = False


REAL_ARCHIVES: list[RealArchive] = []

UNPACK = {
    "tar": 'tar -xpf "$out"',
    "incremental tar": 'tar -xpf "$out" --listed-incremental=/dev/null',
    "bsdtar": 'bsdtar -xpf "$out"',
    # 1: something is in front of it.
    "unzip": 'unzip -q "$out" || test $? = 1',
    "7z": '7z x -bd -y -snld20 "$out" >"$tmp"/7z.log',
    "jar": 'jar xf "$out"',
    "nothing": "false",
}


def real(
    what: str,
    script: str,
    unpack: str = "tar",
    *,
    tools: str = "",
    error: str = "",
    documented: str = "",
    is_slow: bool = False,
) -> None:
    """Add an archive; the first words of both scripts are tools that it needs, too."""
    unpacking = UNPACK["nothing" if error else unpack]
    first = {shlex.split(script)[0], *([] if error else [unpacking.split()[0]]), *tools.split()}
    REAL_ARCHIVES.append(
        RealArchive(
            what=what,
            tools=tuple(sorted(first)),
            script=script,
            unpack=unpacking,
            error=error,
            documented=documented,
            is_slow=is_slow,
        )
    )


def refused(what: str, script: str, error: str, documented: str, *, tools: str = "") -> None:
    """Add an archive that is refused."""
    real(what, script, tools=tools, error=error, documented=documented)


# GNU tar.  The old formats have no place for long names, which are left out there.
FORMATS = ("v7", "oldgnu", "gnu", "ustar", "posix")
GNU_FORMATS = ("oldgnu", "gnu", "posix")
for form in FORMATS:
    long = "" if form in GNU_FORMATS else "--exclude=long* "
    tar = f"tar --format={form} {long}"
    for way, script in {
        "": '-cf "$out" .',
        "with gzip": '-czf "$out" .',
        "with bzip2": '-cjf "$out" .',
        "with xz": '-cJf "$out" .',
        "with the names of members": '-cf "$out" *',
        "below a directory": '-cf "$out" --transform=s,^,app-1.0/,S .',
        "with a file named twice": '-cf "$out" Procfile .',
        "with two names of a file": '-cf "$out" Procfile ./Procfile run.sh',
        "without directories": '-cf "$out" --no-recursion deep/nested/file Procfile',
        "with links followed": '-chf "$out" .',
        "with hard links as files": '--hard-dereference -cf "$out" .',
        "in small records": '-b1 -cf "$out" .',
        "in large records": '-b200 -cf "$out" .',
        "sorted": '--sort=name -cf "$out" .',
        "with other modes": '--mode=a+rwx,u+s -cf "$out" .',
        "with other owners": '--owner=a:123456789 --group=b:1 -cf "$out" .',
        "of long ago": '--mtime=@-1 -cf "$out" Procfile',
        "with an empty directory": '-cf "$out" empty',
        "of nothing": '-cf "$out" -T /dev/null',
        "appended to": '-cf "$out" Procfile && tar -rf "$out" Procfile run.sh Procfile',
        "updated": '-cf "$out" Procfile && tar -uf "$out" Procfile run.sh',
        "joined": '-cf "$out" Procfile && tar -cf "$tmp"/2 run.sh && tar -Af "$out" "$tmp"/2',
        "deleted from": '-cf "$out" Procfile run.sh && tar --delete -f "$out" run.sh',
        "without an end": '-b1 -cf "$tmp"/1 . && head -c -1024 "$tmp"/1 >"$out"',
    }.items():
        if form in {"v7", "ustar"} and way in {"with other owners", "of long ago"}:
            continue  # They have no place for such numbers.
        real(f"tar of {form} {way}".rstrip(), tar + script)
    refused(
        f"tar of {form} with absolute paths",
        tar + '-cPf "$out" "$PWD/Procfile"',
        "expected a relative path, found an absolute one",
        "Absolute paths",
    )
    if form == "v7":
        continue  # It cannot have any.
    refused(
        f"tar of {form} with a fifo",
        f'mkfifo "$tmp"/fifo && {tar} -C "$tmp" -cf "$out" fifo',
        "expected a file, directory or link, found a fifo",
        "Devices, fifos, sockets",
        tools="tar",
    )
for form in GNU_FORMATS:
    tar = f"tar --format={form}"
    real(f"tar of {form} with holes", f'{tar} -cSf "$out" .')
    real(f"tar of {form} with holes, compressed", f'{tar} -cSzf "$out" .')
    real(f"tar of {form} with a label", f'{tar} -V label -cf "$out" .')
    real(f"tar of {form} with many holes", f'{tar} -cSf "$out" -C "$base"/holes .')
    real(
        f"tar of {form} of an incremental backup",
        f'{tar} --listed-incremental="$tmp"/snapshot -cf "$out" .',
        "incremental tar",
    )
    real(
        f"tar of {form} of the next backup",
        f'{tar} --listed-incremental="$tmp"/snapshot -cf "$tmp"/0 .'
        f' && {tar} --listed-incremental="$tmp"/snapshot -cf "$out" .',
        "incremental tar",
    )
    refused(
        f"tar of {form} in the first of several volumes",
        f'{tar} -ML 40 -cf "$out" -f "$tmp"/2 data.bin',
        "the tar archive is cut short",
        "several volumes",
    )
    refused(
        f"tar of {form} in the second of several volumes",
        f'{tar} -ML 40 -cf "$tmp"/1 -f "$out" data.bin',
        "found a part of another archive's file",
        "several volumes",
    )
for version in ("0.0", "0.1", "1.0"):
    for how, where in {"with": ".", "with many": '-C "$base"/holes .'}.items():
        real(
            f"tar of posix {how} holes of {version}",
            f'tar --format=posix --sparse-version={version} -cSf "$out" {where}',
        )
real("tar of posix with attributes", 'tar --format=posix --xattrs --acls -cf "$out" .')
real(
    "tar of posix with times of nanoseconds",
    'tar --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,atime:=1.5 -cf "$out" .',
)
real(
    "tar of posix with a global header",
    'tar --format=posix --pax-option=globexthdr.name=g,comment=x -cf "$out" .',
)

# bsdtar, which writes holes without being asked.
for form, (option, compression) in itertools.product(
    ("gnutar", "pax", "paxr", "ustar", "v7tar"),
    (("", "plain"), ("z", "gzip"), ("j", "bzip2"), ("J", "xz")),
):
    long = "--exclude=long* " if form in {"ustar", "v7tar"} else ""
    real(
        f"bsdtar of {form}, {compression}",
        f'bsdtar --format={form} {long}-c{option}f "$out" .',
        "bsdtar",
    )
real("bsdtar of its own choice", 'bsdtar -cf "$out" *', "bsdtar")
real("bsdtar with many holes", 'bsdtar -cf "$out" -C "$base"/holes .', "bsdtar")
real("bsdtar with links followed", 'bsdtar -cLf "$out" .', "bsdtar")
real("bsdtar below a directory", 'bsdtar -cf "$out" -s ",^,app/,S" Procfile run.sh', "bsdtar")
real("bsdtar appended to", 'bsdtar -cf "$out" Procfile && bsdtar -rf "$out" Procfile', "bsdtar")
real("bsdtar of another archive", 'bsdtar -cf "$tmp"/1 . && bsdtar -cf "$out" "@$tmp/1"', "bsdtar")
real("bsdtar of a zip", 'bsdtar -caf "$out" --format=zip .', "bsdtar")
real(
    "bsdtar of a stored zip",
    'bsdtar --format=zip --options=zip:compression=store -cf "$out" .',
    "bsdtar",
)
for option, found in {
    "--zstd": "zstd data",
    "--lz4": "lz4 data",
    "--lzma": "lzma data",
    "-Z": "data of compress (.Z)",
    "--format=cpio": "a cpio archive",
    "--format=newc": "a cpio archive",
    "--format=7zip": "a 7z archive",
    "--format=xar": "a xar archive",
    "--format=ar": "an ar archive, as Debian packages are",
}.items():
    refused(
        f"bsdtar {option}",
        f'bsdtar {option} -cf "$out" Procfile',
        f"expected a zip or tar archive, found {found}",
        "7z, rar, cpio, ar, xar, cabinet; tar in zstd, lz4, lzma",
    )

# Info-ZIP.
for level in (0, 1, 6, 9):
    real(f"zip of level {level}", f'zip -q{level}ry "$out" .', "unzip")
for way, script in {
    "with links followed": '-qr "$out" Procfile deep link up',
    "of zip64": '-qry -fz "$out" .',
    "of a stream": "-qry - . | cat >$out",
    "of a file from a stream": '-q "$out" - <Procfile',
    "without attributes": '-qryX "$out" .',
    "without directories": '-qryD "$out" .',
    "with names in UTF-8": '-qry -UN=UTF8 "$out" .',
    "with escaped names": '-qry -UN=Escape "$out" .',
    "with DOS names": '-qk "$out" Procfile run.sh',
    "with DOS line ends": '-ql "$out" Procfile run.sh',
    "with flat names": '-qj "$out" Procfile deep/nested/file',
    "of selected files": '-qry "$out" . -i "*.sh" Procfile',
    "updated": '-qry "$out" Procfile && zip -qu "$out" Procfile run.sh',
    "deleted from": '-qry "$out" Procfile run.sh && zip -qd "$out" run.sh',
    "with a comment": '-qrzy "$out" . <Procfile',
    "behind a script": '-qry "$tmp"/1.zip . && { echo "#!/bin/sh"; cat "$tmp"/1.zip; } >"$out"',
    "behind a script, adjusted": '-qry "$tmp"/1.zip . '
    '&& { echo "#!/bin/sh"; cat "$tmp"/1.zip; } >"$out" && zip -qA "$out"',
    "of zip64 behind a script": '-qry -fz "$tmp"/1.zip . '
    '&& { echo "#!/bin/sh"; cat "$tmp"/1.zip; } >"$out"',
    "with something behind": '-qry "$out" . && echo >>"$out"',
}.items():
    real(f"zip {way}", f"zip {script}", "unzip")
for way, script, error, documented in (
    ("with bzip2", '-qr -Z bzip2 "$out" .', "found method 12", "neither stored nor deflated"),
    ("with a password", '-qr -P x "$out" .', "expected no encryption", "encrypted"),
):
    refused(f"zip {way}", f"zip {script}", error, documented)
for part, error in {
    "1.z01": "expected a zip or tar archive, found a part of a zip archive",
    "1.zip": "expected a zip archive in one file, found one of several disks",
}.items():
    refused(
        f"zip in several parts: {part}",
        f'zip -qr -s 64k "$tmp"/1.zip data.bin && cp "$tmp"/{part} "$out"',
        error,
        "several volumes",
    )

# 7-Zip.  It follows links unless it is told not to.
for way, script in {
    "stored": '-tzip -mx=0 -snl "$out" .',
    "fast": '-tzip -mx=1 -snl "$out" .',
    "best": '-tzip -mx=9 -snl "$out" .',
    "with times": '-tzip -mtc=on -mta=on -snl "$out" .',
    "with names in UTF-8": '-tzip -mcu=on -snl "$out" .',
}.items():
    real(f"7z of zip, {way}", f"7z a -bd -bso0 {script}", "unzip")
real("7z of tar", '7z a -bd -bso0 -ttar -snl "$out" .')
real("7z of tar with hard links", '7z a -bd -bso0 -ttar -snl -snh "$out" .')
real("7z of pax", '7z a -bd -bso0 -ttar -mm=pax -snl "$out" .')
real(
    "7z of tar and gzip",
    '7z a -bd -bso0 -ttar -snl "$tmp"/1.tar . && 7z a -bd -bso0 -tgzip "$out" "$tmp"/1.tar',
)
real(
    "7z of tar and xz",
    '7z a -bd -bso0 -ttar -snl "$tmp"/1.tar . && 7z a -bd -bso0 -txz "$out" "$tmp"/1.tar',
)
for method, number in {"BZip2": 12, "LZMA": 14, "Deflate64": 9, "PPMd": 98}.items():
    refused(
        f"7z of zip with {method}",
        f'7z a -bd -bso0 -tzip -mm={method} "$out" holes.bin',
        f"expected stored or deflated, found method {number}",
        "neither stored nor deflated",
    )
refused(
    "7z of zip with a password",
    '7z a -bd -bso0 -tzip -px -mem=AES256 "$out" data.bin',
    "expected no encryption",
    "encrypted",
)
refused("7z", '7z a -bd -bso0 -t7z "$out" Procfile', "found a 7z archive", "7z, rar")

# cpio, which writes tar, too.
for form in ("tar", "ustar"):
    real(
        f"cpio of {form}",
        f'find Procfile run.sh deep link hard1 | cpio -oH {form} 2>"$tmp"/log >"$out"',
        tools="cpio",
    )
for form in ("bin", "odc", "newc", "crc"):
    refused(
        f"cpio of {form}",
        f'ls Procfile | cpio -oH {form} 2>"$tmp"/log >"$out"',
        "found a cpio archive",
        "cpio, ar",
        tools="cpio",
    )

# What compresses a tar otherwise.
for tool, found in {
    "compress -fc": "data of compress (.Z)",
    "lz4 -qc": "lz4 data",
    "lz4 -qlc": "lz4 data",
    "lzma -c": "lzma data",
    "zstd -qc": "zstd data",
    "lzip -c": "lzip data",
    "lzop -c": "lzop data",
}.items():
    refused(
        f"tar by {tool}",
        f'tar -cf "$tmp"/1 . && {tool} <"$tmp"/1 >"$out"',
        f"expected a zip or tar archive, found {found}",
        "tar in zstd, lz4, lzma, lzip, lzop",
        tools=tool.split()[0],
    )
refused(
    "ar",
    'ar qc "$out" Procfile 2>"$tmp"/log',
    "found an ar archive",
    "cpio, ar",
)
for tool in ("gzip", "bzip2", "xz"):
    refused(
        f"tar by {tool} twice",
        f'tar -cf - . | {tool} | {tool} >"$out"',
        "it is compressed twice",
        "compressed twice",
        tools=tool,
    )
    real(
        f"tar by {tool} in two streams",
        'tar -cf "$tmp"/1 . '
        f'&& {{ head -c 5000 "$tmp"/1 | {tool}; tail -c +5001 "$tmp"/1 | {tool}; }} >"$out"',
        tools=tool,
    )
real(
    "tar by xz in blocks of threads",
    'tar -cf - . | xz -T2 --block-size=20000 >"$out"',
    tools="xz",
)
real(
    "tar by xz with padding",
    'tar -cf - . | xz >"$out" && head -c 512 /dev/zero >>"$out"',
    tools="xz",
)
real("tar by the best of gzip", 'tar -cf - . | gzip -9n >"$out"', tools="gzip")

# Git, of a repository of the tree.
for form, unpack in {"tar": "tar", "tar.gz": "tar", "zip": "unzip"}.items():
    for way, option in {"": "", " below a directory": "--prefix=app-1.0/ "}.items():
        real(
            f"git archive of {form}{way}",
            f'git --git-dir="$base"/repository archive --format={form} {option}-o "$out" HEAD',
            unpack,
        )
real(
    "git archive of a part",
    'git --git-dir="$base"/repository archive --format=tar -o "$out" HEAD deep Procfile',
)

# Python.
for module, unpack in (("tarfile", "tar"), ("zipfile", "unzip")):
    real(f"python -m {module}", f'python3 -m {module} -c "$out" Procfile run.sh deep', unpack)
for form in ("tar", "gztar", "bztar", "xztar", "zip"):
    real(
        f"make_archive of {form}",
        f"python3 -c 'import shutil, sys; sys.stdout.write(shutil.make_archive("
        f'sys.argv[1], "{form}", "."))\' "$tmp"/1 | xargs -I@ mv @ "$out"',
        "unzip" if form == "zip" else "tar",
    )
real(
    "zipapp",
    'mkdir "$tmp"/app && cp Procfile "$tmp"/app && touch "$tmp"/app/__main__.py'
    ' && python3 -m zipapp -p python3 -o "$out" "$tmp"/app',
    "unzip",
    tools="python3",
)

# Packages of languages.
for way, option in {"": "cf", " without a manifest": "cMf", " stored": "c0f"}.items():
    real(f"jar{way}", f'jar {option} "$out" Procfile run.sh deep', "jar", is_slow=True)
real(
    "npm pack",
    'cp -r Procfile run.sh deep "$tmp" && cd "$tmp" && echo \'{"name": "a", "version": "1.0.0"}\''
    " >package.json && npm pack --silent --offline --ignore-scripts --cache=."
    ' --update-notifier=false >log && mv a-1.0.0.tgz "$out"',
    tools="npm",
    is_slow=True,
)
PYPROJECT = (
    '[build-system]\\nrequires = ["hatchling"]\\nbuild-backend = "hatchling.build"\\n'
    '[project]\\nname = "a"\\nversion = "1.0"\\n'
    '[tool.hatch.build.targets.wheel]\\ninclude = ["Procfile", "run.sh"]\\n'
)
for target, unpack in {"sdist": "tar", "wheel": "unzip"}.items():
    real(
        f"hatch of {target}",
        'cp -r Procfile run.sh deep "$tmp" && cd "$tmp"'
        f" && printf '{PYPROJECT}' >pyproject.toml"
        f' && hatchling build -t {target} >log && mv dist/* "$out"',
        unpack,
        tools="hatchling",
        is_slow=True,
    )
