"""Texts that have broken programs."""

from __future__ import annotations

MARK = "zqx"
SQL = "'; DROP TABLE tasks_app_task; --"
HTML = f'"><img src={MARK} onerror=alert(1)><script>{MARK}()</script><svg/onload=alert(2)>'
ATTRIBUTE = f"x' onmouseover='{MARK}()' style='color:red"
TEMPLATE = f"{{{{ 7777*7 }}}}{{% debug %}}${{7777*7}}<%= 7777*7 %>{MARK}"
PERCENT = "%s%(x)s%%{0}{x}%n"
CONTROL = f"{MARK}\x01\x08\x1b[31mred\x7f\x85"
LINES = f"{MARK}\r\nX-Injected: yes\r\n\r\nid: 9\ndata: {{}}\n\n2026-01-01 00:00:00 INFO forged: line"
BIDI = f"{MARK}\u202egnp.exe\u2066\u200f"
PATH = "../../../../etc/passwd"
LONG = MARK * 20_000

TEXTS = {
    "sql": SQL,
    "html": HTML,
    "attribute": ATTRIBUTE,
    "template": TEMPLATE,
    "percent": PERCENT,
    "control": CONTROL,
    "lines": LINES,
    "bidi": BIDI,
    "path": PATH,
}
