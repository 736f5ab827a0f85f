"""Tokens are read as they were written, refused for what is wrong with them, and cannot be guessed."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.identity.joining.limiter import MAX_ADDRESSES, WINDOW_SECONDS, WRONG, Limiter, group_of
from pilothouse.governance.identity.joining.tokens import ENTROPY_BYTES, check, check_life, hash_of, make
from pilothouse.model.cluster import JoinToken, Role
from pilothouse.model.join_token import Token, read, write

NOW = 1_800_000_000.0
HASH = "0123456789abcdef" * 4


def kept(secret, **fields):
    return JoinToken(
        id=secret.token_id, secret_hash=hash_of(secret.secret), role=Role.AGENT, created_at=NOW, expires_at=NOW + 600,
        **fields,
    )  # fmt: skip


@given(st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES))
def test_a_token_is_read_as_it_was_written(entropy):
    secret = make(entropy)
    token = Token(token_id=secret.token_id, secret=secret.secret, authority_hash=HASH)
    assert read(f"  {write(token)}\n") == token


def test_every_bit_of_chance_is_in_the_token():
    base = make(bytes(ENTROPY_BYTES))
    for bit in range(ENTROPY_BYTES * 8):
        changed = make((1 << bit).to_bytes(ENTROPY_BYTES, "big"))
        assert changed != base
    assert len(base.secret) == 26
    assert 8 * (ENTROPY_BYTES - 5) == 128


GOOD = write(Token(token_id="ABCDEFG2", secret="A" * 26, authority_hash=HASH))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with PH1-"),
        ("hello", "begins with PH1-"),
        ("SWMTKN-1-abc-def", "begins with PH1-"),
        (GOOD.lower(), "begins with PH1-"),
        ("PH2" + GOOD[3:], "begins with PH1-"),
        ("PH1", "1 parts"),
        (GOOD.rsplit("-", 1)[0], "3 parts"),
        (GOOD + "-x", "5 parts"),
        (GOOD[:-1], r"authority's hash .* 63 characters instead of 64; was it copied whole"),
        (GOOD + "0", "65 characters"),
        (GOOD.replace("ABCDEFG2", "ABCDEFG"), "name .* 7 characters instead of 8"),
        (GOOD.replace("ABCDEFG2", "ABCDEFG1"), "name .* other characters than A-Z and 2-7"),
        (GOOD.replace("A" * 26, "A" * 25), "secret .* 25 characters instead of 26"),
        (GOOD.replace("A" * 26, "a" * 26), "secret .* other characters"),
        (GOOD.replace(HASH, HASH.upper()), "hash .* other characters than 0-9 and a-f"),
        (GOOD.replace(HASH, HASH[:-1] + "\n"), "was it copied whole"),
    ],
)
def test_each_bad_form_is_told_by_what_is_wrong_and_shows_no_secret(text, said):
    with pytest.raises(InvalidRequestError, match=said) as error:
        read(text)
    assert "AAAAAAAA" not in str(error.value)


def test_the_right_secret_opens_a_token_while_it_may_be_used():
    secret = make(os.urandom(ENTROPY_BYTES))
    token = kept(secret)
    assert check(token, secret.secret, NOW + 599) == ""
    assert "expired" in check(token, secret.secret, NOW + 600)
    assert "revoked" in check(replace(token, revoked_at=NOW), secret.secret, NOW)
    assert "by web1" in check(replace(token, used_by="web1", used_at=NOW), secret.secret, NOW)
    assert "no such token" in check(None, secret.secret, NOW)
    assert "secret is wrong" in check(token, make(os.urandom(ENTROPY_BYTES)).secret, NOW)
    assert "secret is wrong" in check(token, "", NOW)
    assert "secret is wrong" in check(token, token.secret_hash, NOW), "who reads the store cannot join with it"
    assert "secret is wrong" in check(token, "\udcff", NOW)


def test_a_wrong_secret_of_a_used_token_is_called_wrong_first():
    """The record must not credit a guesser with having had the secret."""
    secret = make(os.urandom(ENTROPY_BYTES))
    assert "wrong" in check(replace(kept(secret), used_by="x"), "A" * 26, NOW)


def test_an_unknown_token_is_not_opened_by_the_stand_in_for_its_hash():
    assert check(None, "0" * 64, NOW) != ""


def test_a_hundred_thousand_guesses_open_nothing_and_nearly_all_are_not_even_heard():
    secret = make(os.urandom(ENTROPY_BYTES))
    token, limiter, chance = kept(secret), Limiter(), random.Random(4)
    heard = opened = 0
    span = 3600.0
    for n in range(100_000):
        now = n * span / 100_000
        if limiter.wait_seconds("203.0.113.9", now) > 0:
            continue
        heard += 1
        if not check(token, make(chance.randbytes(ENTROPY_BYTES)).secret, NOW):
            opened += 1
        limiter.wrong("203.0.113.9", now)
    assert opened == 0
    assert heard <= WRONG * span / WINDOW_SECONDS + WRONG


@pytest.mark.parametrize("life", [59.0, 3601.0, -1.0, float("nan"), float("inf")])
def test_a_token_lasts_an_hour_at_most(life):
    with pytest.raises(InvalidRequestError, match="60 to 3600"):
        check_life(life)
    assert check_life(3600.0) == 3600.0


def test_the_fifth_wrong_one_within_a_minute_shuts_an_address_out_for_a_minute():
    limiter = Limiter()
    assert [limiter.wrong("192.0.2.1", at) for at in (0, 10, 20, 30)] == [False] * 4
    assert limiter.wait_seconds("192.0.2.1", 30) == 0
    assert limiter.wrong("192.0.2.1", 40)
    assert limiter.wait_seconds("192.0.2.1", 41) == 59
    assert limiter.wait_seconds("192.0.2.2", 41) == 0
    assert limiter.wait_seconds("192.0.2.1", 100) == 0


def test_wrong_ones_that_are_long_ago_do_not_count():
    limiter = Limiter()
    assert not any(limiter.wrong("192.0.2.1", 16.0 * n) for n in range(50))


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 30)), max_size=300))
def test_an_address_is_never_heard_more_than_five_times_a_minute(tries):
    limiter, now, heard = Limiter(most=1000), 0.0, {}
    for who, gap in tries:
        now += gap
        if limiter.wait_seconds(f"10.0.0.{who}", now) <= 0:
            limiter.wrong(f"10.0.0.{who}", now)
            heard.setdefault(who, []).append(now)
    for times in heard.values():
        for first in times:
            assert len([t for t in times if first <= t < first + WINDOW_SECONDS]) <= WRONG


def test_memory_is_bounded_however_many_addresses_come():
    limiter = Limiter()
    for n in range(3 * MAX_ADDRESSES):
        limiter.wrong(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n * 0.001)
    assert len(limiter) == MAX_ADDRESSES


def test_a_whole_network_of_ipv6_counts_as_one():
    assert group_of("2001:db8::1") == group_of("2001:db8::ffff:2%eth0") != group_of("2001:db8:0:1::1")
    assert group_of("::ffff:192.0.2.1") == group_of("192.0.2.1")
    assert group_of("x" * 500) == "x" * 64
