"""Replies of a PoW server, created without one."""

import base64
import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from calpow.client.reply import Reply
from calpow.puzzle.puzzle import Puzzle
from calpow.puzzle.wire import Challenge, www_authenticate

REALM = "digits@9f2c41"
NOW = datetime.now(timezone.utc).replace(microsecond=0)


def challenge(identity: str = "5f0c", bits: int = 1, count: int = 2, seconds: float = 60) -> Challenge:
    """A challenge that expires `seconds` after NOW."""
    claims = base64.urlsafe_b64encode(json.dumps({"jti": identity}).encode()).rstrip(b"=").decode()
    puzzle = Puzzle("hashcash-sha1", identity, bits, count)
    return Challenge(f"e30.{claims}.c2ln", puzzle, NOW + timedelta(seconds=seconds))


def demand(
    problem: str = "pow-required", wanted: Challenge | None = None, date: datetime | None = NOW, **headers: str
) -> Reply:
    """A 402 with a challenge, `challenge()` if none is given."""
    wanted = wanted or challenge()
    document = {"type": f"urn:calpow:problem:{problem}", "status": 402, "challenge": wanted.to_document()}
    headers["www-authenticate"] = www_authenticate(REALM, wanted.token)
    if date is not None:
        headers["date"] = format_datetime(date, usegmt=True)
    return Reply(402, headers, json.dumps(document).encode(), "Payment Required")


def answer(next_hashes: int) -> Reply:
    """An answer that announces the price of the next one."""
    return Reply(200, {"pow-next": str(next_hashes)})


def busy(retry_after: str, status: int = 503) -> Reply:
    """A busy server's response."""
    return Reply(status, {"retry-after": retry_after, "date": format_datetime(NOW, usegmt=True)})
