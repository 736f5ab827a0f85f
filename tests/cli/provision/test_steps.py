"""Whatever step provisioning stops at, the message says which, what the machine said, and what is left there."""

import tarfile

import pytest

from pilothouse.cli.provision import bundle, steps
from pilothouse.cli.provision.preflight import Finding, Verdict
from pilothouse.errors import HostUnfitError, ProvisionFailedError


class PretendMachine:
    """A machine that keeps what is sent to it, and answers the scripts of provisioning as a real one does."""

    def __init__(self, fails="", joins='{"node_id":"node7","cluster":"c"}'):
        self.fails = fails
        self.joins = joins
        self.installed = {}
        self.current = ""
        self.joined_with = ()

    async def script(self, text, *arguments, seconds=60.0):
        if text == steps._IS_THERE:
            return "yes" if arguments[0] in self.installed else "no"
        if text == steps._SWITCH:
            self._may("switch")
            self.current = arguments[0]
            return "pilothouse, version 1"
        raise AssertionError(text)

    async def hand(self, secret, text, *arguments, seconds=60.0):
        assert text == steps._JOIN
        self._may("join")
        self.joined_with = (*arguments, secret)
        return self.joins

    async def send(self, content, text, name, *, sent):
        assert text == steps._UNPACK
        self._may("send")
        sent(1)
        with tarfile.open(fileobj=content) as tar:
            self.installed[name] = tar.getnames()

    def _may(self, what):
        if what == self.fails:
            raise ProvisionFailedError("the machine said: no room (exit 1)")


class PretendCluster:
    """A cluster whose nodes become ready after so many looks."""

    def __init__(self, looks=2):
        self.looks = looks
        self.tokens = []

    def token(self):
        self.tokens.append("PH1-token")
        return self.tokens[-1]

    def withdraw(self):
        self.tokens.pop()

    def trouble(self, node_id):
        self.looks -= 1
        return f"{node_id} has not been heard of" if self.looks >= 0 else ""


class JumpingClock:
    """Time that passes only by waiting."""

    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at

    async def sleep(self, seconds):
        self.at += seconds


class Heard:
    """Who is told how it gets on."""

    def __init__(self):
        self.steps = []

    def finding(self, found):
        self.steps.append(found.check)

    def step(self, text):
        self.steps.append(text)

    def far(self, done, whole):
        pass


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("1")
    made = bundle.Bundle(name="1-abc", files=(("pilothouse/a.py", str(tmp_path / "a.py")),), size_bytes=1)
    monkeypatch.setattr(bundle, "bundle", lambda: made)


async def _join(machine, cluster):
    return await steps.join(machine, "10.0.0.7", "10.0.0.1:7443", cluster, JumpingClock(), Heard())


async def test_what_is_installed_is_current_and_is_not_sent_twice():
    machine, heard = PretendMachine(), Heard()
    assert await steps.install(machine, "10.0.0.7", heard) == "1-abc"
    assert (machine.installed, machine.current) == ({"1-abc": ["pilothouse/a.py"]}, "1-abc")
    machine.fails = "send"
    assert await steps.install(machine, "10.0.0.7", heard) == "1-abc"
    assert len([text for text in heard.steps if text.startswith("sending")]) == 1


@pytest.mark.parametrize("fails", ["send", "switch"])
async def test_an_installation_that_stops_says_so_and_the_old_one_stays(fails):
    machine = PretendMachine(fails=fails)
    machine.current = "0-old"
    with pytest.raises(ProvisionFailedError, match=r"10\.0\.0\.7: stopped at the step install: .*no room.*left there"):
        await steps.install(machine, "10.0.0.7", Heard())
    assert machine.current == "0-old"


async def test_a_machine_joins_with_a_token_of_its_own_and_is_waited_for():
    machine, cluster = PretendMachine(), PretendCluster(looks=5)
    assert await _join(machine, cluster) == "node7"
    assert machine.joined_with == ("10.0.0.1:7443", "PH1-token\n")
    assert cluster.looks == -1


@pytest.mark.parametrize("machine", [PretendMachine(fails="join"), PretendMachine(joins="Welcome!")])
async def test_a_token_that_let_nobody_in_is_taken_back(machine):
    cluster = PretendCluster()
    with pytest.raises(ProvisionFailedError, match=r"stopped at the step join: .*installed and not started"):
        await _join(machine, cluster)
    assert cluster.tokens == []


async def test_a_node_that_never_gets_ready_is_left_with_the_cause():
    cluster = PretendCluster(looks=10_000)
    with pytest.raises(ProvisionFailedError, match=r"step wait: .*node7 has not been heard of; left there: the node"):
        await _join(PretendMachine(), cluster)
    assert cluster.tokens == ["PH1-token"], "it was used"


def test_every_reason_against_a_machine_is_named_at_once():
    against = [Finding(check=each, verdict=Verdict.REFUSED, message=f"no {each}: get one") for each in ("a", "b")]
    fine = Finding(check="c", verdict=Verdict.WARNING, message="hm")
    with pytest.raises(HostUnfitError, match=r"2 things in the way; nothing was changed there:\na: no a.*\nb: no b"):
        steps.insist("10.0.0.7", (*against, fine))
    steps.insist("10.0.0.7", (fine,))
