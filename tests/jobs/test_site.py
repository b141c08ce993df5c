"""What a SLURM site is asked before the first job is sent, with stand-ins for its commands."""

from __future__ import annotations

import math

import pytest

from benchmark.errors import InputError
from benchmark.jobs import site
from benchmark.jobs.site import Request, check_sites, minutes_of

FACTS = """cat <<END
PartitionName=short AllowQos=ALL Default=YES MaxTime=04:00:00
PartitionName=long AllowQos=ALL Default=NO MaxTime=UNLIMITED
PartitionName=guarded AllowQos=urgent,paid Default=NO MaxTime=UNLIMITED
END"""


@pytest.fixture
def slurm(stand_in, tmp_path):
    """A site that takes everything; what it was asked is in the file `asked`."""
    stand_in("sbatch", f"echo $* >> {tmp_path}/asked")
    stand_in("scontrol", FACTS)
    return tmp_path / "asked"


def request(rule="train_run", options="", **resources) -> Request:
    return Request.of(rule, options, resources)


def test_each_kind_of_job_is_asked_for_once_and_as_it_will_ask(slurm):
    """A GPU-only partition (a job_submit plugin refuses others) is asked for GPUs, and only by the rules that do."""
    train = " --parsable --job-name test -t 1440 --mem 32000 --gpus=1 --dependency=afterany:7"
    check_sites(
        [
            request(options=train, slurm_partition="long"),
            request(options=train.replace("1440", "60").replace(":7", ":8"), slurm_partition="long"),
            request("score_run", " --parsable --mem 64000", slurm_partition="long", slurm_account="mine,theirs"),
        ]
    )
    assert sorted(slurm.read_text().splitlines()) == [
        "--test-only --partition=long --account=mine --mem 64000 --time=10 --wrap=true",
        "--test-only --partition=long --mem 32000 --gpus=1 --time=10 --wrap=true",
    ]


def test_a_refusal_shows_slurms_words_and_the_partitions(stand_in, slurm):
    stand_in("sbatch", "echo 'invalid account' >&2; exit 1")
    with pytest.raises(InputError, match="SLURM refuses what train_run asks") as error:
        check_sites([request(options=" --mem 32000", slurm_account="lab")])
    for part in ("--account=lab", "invalid account", "short*, long", "slurm/config.yaml", "--mem 32000"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("printed", "minutes"),
    [("UNLIMITED", math.inf), ("2-00:00:00", 2880), ("1-12:30:00", 2190), ("4:00:00", 240), ("30:00", 30)],
)
def test_time_limits_as_slurm_prints_them(printed, minutes):
    assert minutes_of(printed) == minutes


@pytest.mark.parametrize(
    ("partition", "refused"), [(None, True), ("long", False), ("short", True), ("long,short", False), ("a,b", False)]
)
def test_a_job_longer_than_all_its_partitions_allow_is_named(slurm, partition, refused):
    jobs = [("score_run", 240), ("prepare_cases", 720), ("count_cost", "<TBD>")]
    asked = [request(rule, runtime=minutes, slurm_partition=partition) for rule, minutes in jobs]
    if not refused:
        check_sites(asked)
        return
    with pytest.raises(InputError, match="prepare_cases asks for more time") as error:
        check_sites(asked)
    for part in ("at most 04:00:00 in partition short", "720 minutes", "prepare_cases:runtime"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("options", "associations", "found"),
    [
        ("", "", "normal (by default)"),
        (" --qos=slow", "", "slow (asked for)"),
        (" --qos=urgent --qos='slow'", "", "slow (asked for)"),  # the last counts
        ("", "lab|slow", "slow (by default)"),
        ("", "other|urgent", "normal (by default)"),  # of another account
        (" --qos=urgent", "", None),
        (" --qos paid", "", None),
        ("", "lab|paid", None),
    ],
)
def test_a_partition_for_certain_qualities_of_service(stand_in, slurm, options, associations, found):
    stand_in("sacctmgr", f"echo '{associations}'")
    asked = [request(options=options, slurm_partition="guarded", slurm_account="lab")]
    if found is None:
        check_sites(asked)
        return
    with pytest.raises(InputError, match="would wait for ever") as error:
        check_sites(asked)
    assert found in str(error.value) and "urgent,paid" in str(error.value)


def test_of_several_partitions_one_is_enough(slurm):
    check_sites([request(runtime=1440, slurm_partition="short,guarded,long")])
    with pytest.raises(InputError, match="more time"):
        check_sites([request(runtime=1440, slurm_partition="short,guarded")])


def test_another_cluster_is_asked_by_itself(slurm):
    check_sites([request(options=" --clusters far", runtime=1440, slurm_partition="short", clusters="far")])
    assert "--clusters far" in slurm.read_text()


def test_a_site_that_does_not_answer_is_no_traceback(stand_in, slurm, monkeypatch):
    stand_in("scontrol", "exec sleep 60")
    monkeypatch.setattr(site, "SECONDS_TO_ANSWER", 0.2)
    with pytest.raises(InputError, match="SLURM does not answer"):
        check_sites([request()])


def test_without_slurm_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="workstation"):
        check_sites([request()])
