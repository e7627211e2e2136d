"""Accounts without keys: tokens and the anonymous account pay, prepay and obey rules as those of keys do."""

import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from calpow.handler.gate.gate import Gate
from calpow.handler.identity.identification import Identification
from calpow.handler.identity.token_verifier import TokenVerifier
from calpow.handler.identity.ways import IdentityWay
from calpow.handler.ledger.account import Rule
from calpow.handler.ledger.uri import open_ledger
from calpow.handler.metrics.tally import Tally
from calpow.puzzle.prepaid import prepaid_resource, subject_resource
from calpow.puzzle.solving.solver import solve
from calpow.puzzle.wire import SUBJECT_HEADER, format_prepaid
from tests.support.gate_harness import (
    MODEL,
    GateHarness,
    TextDecision,
    challenge_of,
    decision_type,
    next_hashes_of,
    problem_of,
    released,
    solution,
)
from tests.support.identity_provider import Provider


class TokenGate:
    """A gate that takes tokens, and shares a ledger with the gate of a harness, which takes keys."""

    def __init__(self, harness: GateHarness, folder: Path, *ways: IdentityWay) -> None:
        self.harness = harness
        self.provider = Provider(folder)
        self.provider.add("first")
        verifier = TokenVerifier(self.provider.settings(), clock=lambda: time.time())
        self.gate = Gate(
            MODEL,
            open_ledger(f"sqlite:///{harness.path}"),
            harness.policy,
            harness.allowance,
            Tally(),
            clock=lambda: harness.now,
            identification=Identification(ways or (IdentityWay.jwt,), verifier),
        )

    def ask(self, text: str, header: str | None = None, token: str | None = None, key: str = "") -> TextDecision:
        request = replace(self.harness.request(text, header, key), token=token)
        return self.gate.answer([request], self.harness.runner.run)[0]

    def prepaid(self, subject: str, hashes: int) -> str:
        puzzle = self.harness.kind.puzzle(hashes, subject_resource(self.gate.realm, subject))
        return format_prepaid(solve(puzzle, date=datetime.fromtimestamp(self.harness.now, timezone.utc)))


@pytest.fixture
def tokens(harness: GateHarness, tmp_path: Path) -> TokenGate:
    return TokenGate(harness, tmp_path)


def subject_of(decision: TextDecision) -> str | None:
    if decision_type(decision) == "answered":
        return released(decision).subject
    return problem_of(decision).headers.get(SUBJECT_HEADER)


def test_a_token_pays_like_a_key_and_its_account_is_another_one_than_that_of_a_key(
    harness: GateHarness, tokens: TokenGate
) -> None:
    ada = tokens.provider.token(sub="ada")
    released(harness.ask("2.0", harness.pay("2.0")))
    asked = challenge_of(tokens.ask("1.0", token=ada))
    released(tokens.ask("1.0", solution(asked), token=ada))
    assert [harness.account(name).history.queries for name in ("ada", "jwt:ada")] == [1, 1]


def test_a_fresh_token_of_the_same_subject_is_the_same_account(harness: GateHarness, tokens: TokenGate) -> None:
    first, second = tokens.provider.token(jti="1"), tokens.provider.token(jti="2")
    header = solution(challenge_of(tokens.ask("1.0", token=first)))
    released(tokens.ask("1.0", header, token=second))
    released(tokens.ask("1.0", header, token=first))
    assert harness.account("jwt:ada").history.queries == 1


def test_a_challenge_of_one_subject_pays_for_no_other(tokens: TokenGate) -> None:
    header = solution(challenge_of(tokens.ask("1.0", token=tokens.provider.token(sub="ada"))))
    stolen = tokens.ask("1.0", header, token=tokens.provider.token(sub="eve"))
    assert decision_type(stolen) == "challenge-mismatch"


def test_every_challenge_and_answer_announces_the_subject_that_prepaid_stamps_name(tokens: TokenGate) -> None:
    ada, eve = (tokens.provider.token(sub=name) for name in ("ada", "eve"))
    refused = tokens.ask("1.0", token=ada)
    answer = tokens.ask("1.0", solution(challenge_of(refused)), token=ada)
    subject = subject_of(answer)
    assert subject is not None
    assert subject_of(refused) == subject
    assert subject_of(tokens.ask("1.0", token=eve)) not in (None, subject)
    assert "ada" not in subject
    header = tokens.prepaid(subject, next_hashes_of(answer))
    assert decision_type(tokens.ask("1.1", header, token=eve)) == "invalid-solution"
    paid = tokens.ask("1.1", header, token=tokens.provider.token(sub="ada", jti="another"))
    assert subject_of(paid) == subject
    assert decision_type(tokens.ask("1.2", header, token=ada)) == "challenge-spent"


def test_stamps_that_name_the_token_or_nobody_are_worth_nothing(tokens: TokenGate) -> None:
    ada = tokens.provider.token()
    realm = tokens.gate.realm
    for identity in (ada, "", "ada", "jwt:ada"):
        puzzle = tokens.harness.kind.puzzle(2000, prepaid_resource(realm, identity))
        stamps = solve(puzzle, date=datetime.fromtimestamp(tokens.harness.now, timezone.utc))
        assert decision_type(tokens.ask("1.0", format_prepaid(stamps), token=ada)) == "invalid-solution"


def test_answers_to_keys_announce_no_subject(harness: GateHarness) -> None:
    refused = harness.ask("1.0")
    assert subject_of(refused) is None
    assert subject_of(harness.ask("1.0", solution(challenge_of(refused)))) is None


def test_stamps_minted_before_the_secret_was_renewed_are_good_until_it_is_renewed_again(
    harness: GateHarness, tokens: TokenGate
) -> None:
    ada = tokens.provider.token()
    before = subject_of(tokens.ask("1.0", token=ada)) or ""
    headers = [tokens.prepaid(before, 2000) for _ in range(2)]
    harness.ledger.rotate_secret()
    fresh = TokenGate(harness, tokens.provider.path.parent)
    ada = fresh.provider.token()
    after = subject_of(fresh.ask("1.0", token=ada))
    assert after not in (None, before)
    assert subject_of(fresh.ask("1.0", headers[0], token=ada)) == after
    harness.ledger.rotate_secret()
    late = TokenGate(harness, tokens.provider.path.parent)
    refused = late.ask("1.0", headers[1], token=late.provider.token())
    assert decision_type(refused) == "invalid-solution"
    assert subject_of(refused) not in (None, before, after)


def test_the_operators_rules_hold_for_accounts_without_keys(harness: GateHarness, tokens: TokenGate) -> None:
    ada = tokens.provider.token()
    harness.ledger.set_rule("jwt:ada", Rule.BLOCKED)
    assert decision_type(tokens.ask("1.0", token=ada)) == "account-blocked"
    harness.ledger.set_rule("jwt:ada", Rule.TRUSTED)
    released(tokens.ask("9.0", solution(challenge_of(tokens.ask("9.0", token=ada))), token=ada))
    assert not any(harness.account("jwt:ada").history.wealth)


def test_who_shows_nothing_or_something_false_gets_401_and_no_challenge(
    harness: GateHarness, tokens: TokenGate
) -> None:
    missing = problem_of(tokens.ask("1.0", key=harness.key))
    assert (missing.status, missing.type, missing.challenge) == (401, "identity-missing", None)
    assert "PoW-Identity" in missing.detail
    assert "X-Api-Key" not in missing.detail
    forged = problem_of(tokens.ask("1.0", token=tokens.provider.confused()))
    assert (forged.status, forged.type, forged.challenge) == (401, "identity-unknown", None)
    expired = problem_of(tokens.ask("1.0", token=tokens.provider.token(exp=1)))
    assert forged == expired
    assert harness.pass_count == 0


def test_a_key_and_a_token_in_one_request_are_the_account_of_the_key(harness: GateHarness, tmp_path: Path) -> None:
    both = TokenGate(harness, tmp_path, IdentityWay.key, IdentityWay.jwt)
    token = both.provider.token(sub="eve")
    header = solution(challenge_of(both.ask("1.0", token=token, key=harness.key)))
    released(both.ask("1.0", header, token=both.provider.confused(), key=harness.key))
    assert harness.account("ada").history.queries == 1
    assert harness.account("jwt:eve").history.queries == 0
    unknown = both.ask("1.0", token=token, key="cp_00000000_" + "0" * 48)
    assert decision_type(unknown) == "identity-unknown"


def test_everybody_without_an_identity_shares_one_account_where_the_owner_allows_it(
    harness: GateHarness, tmp_path: Path
) -> None:
    anonymous = TokenGate(harness, tmp_path, IdentityWay.jwt, IdentityWay.anonymous)
    released(anonymous.ask("1.0", solution(challenge_of(anonymous.ask("1.0")))))
    answer = anonymous.ask("1.1", solution(challenge_of(anonymous.ask("1.1"))))
    released(anonymous.ask("1.2", anonymous.prepaid(subject_of(answer) or "", next_hashes_of(answer))))
    assert harness.account("anonymous").history.queries == 3
    forged = anonymous.ask("1.0", token=anonymous.provider.unsigned())
    assert decision_type(forged) == "identity-unknown"
