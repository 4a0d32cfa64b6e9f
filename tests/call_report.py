"""What came of the failing calls: call site by call site, and file by file."""

from __future__ import annotations

from collections import defaultdict

from call_sites import Site


def table(sites: list[Site]) -> str:
    """Every call site, in Markdown."""
    lines = ["| site | call | stacks | faults once | for ever | failed calls | |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for site in sites:
        once = sum(n for name, n in site.tried.items() if name.endswith("once"))
        ever = sum(n for name, n in site.tried.items() if name.endswith("ever"))
        text = site.text.replace("|", "\\|")
        remark = (site.excuse or "**not hit**") if not site.failed else ""
        lines.append(
            f"| `{site.file}:{site.first}` | `{text}` | {len(site.stacks)} "
            f"| {once} | {ever} | {site.failed} | {remark} |"
        )
    return "\n".join(lines)


def not_hit(sites: list[Site]) -> list[Site]:
    """Sites that no fault reached, with or without an excuse."""
    return [site for site in sites if not site.failed]


def unexcused(sites: list[Site]) -> list[Site]:
    """Those without."""
    return [site for site in not_hit(sites) if site.excuse is None]


def summary(sites: list[Site]) -> str:
    """The sites file by file, and those that were not hit, in Markdown."""
    by_file: dict[str, list[Site]] = defaultdict(list)
    for site in sites:
        by_file[site.file].append(site)
    lines = ["| file | call sites | hit | faults | calls that failed |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for file, group in by_file.items():
        hit = sum(bool(site.failed) for site in group)
        tried = sum(site.tried.total() for site in group)
        failed = sum(site.failed for site in group)
        lines.append(f"| `{file}` | {len(group)} | {hit} | {tried} | {failed} |")
    lines += ["", "| not hit | why |", "| --- | --- |"]
    reasons: dict[str, list[str]] = defaultdict(list)
    for site in not_hit(sites):
        reasons[site.excuse or "**no reason**"].append(f"`{site.file}:{site.first}`")
    lines += [f"| {', '.join(where)} | {why} |" for why, where in reasons.items()]
    return "\n".join(lines)
