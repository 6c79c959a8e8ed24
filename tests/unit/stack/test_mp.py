"""Where a coordinator says that the chunks of a prompt are."""

import pytest
from kvproof.stack import mp


def key(chunk: str, size: int, rank: int, *holders: str) -> dict:
    packed = size << 24 | rank << 16 | size << 8 | rank
    places = [{"instance_id": name, "size_bytes": 512} for name in holders]
    return {"key": {"chunk_hash_hex": chunk, "kv_rank": packed}, "placements": places}


def test_a_chunk_counts_where_every_rank_has_it():
    keys = [key("aa", 2, 0, "p", "d"), key("aa", 2, 1, "p"), key("bb", 2, 0, "p"), key("bb", 2, 1)]
    told = mp.placed({"chunks": 2, "results": keys})
    assert told["holders"] == {"p": 1, "d": 0}
    assert told["ranks"] == {"p": {"0": 2, "1": 1}, "d": {"0": 1, "1": 0}}
    assert told["chunk_bytes"] == 512


def test_object_groups_of_a_chunk_are_one_chunk():
    assert mp.placed({"chunks": 1, "results": [key("aa", 1, 0, "p")] * 3})["holders"] == {"p": 1}


@pytest.mark.parametrize("packed", [None, "1", -1, 1.5, True, 1 << 40, 1 << 16, 2 << 24 | 7 << 16])
def test_a_rank_that_nobody_understands_is_the_only_one(packed):
    told = mp.placed({"chunks": 1, "results": [{**key("aa", 1, 0, "p"), "key": {"kv_rank": packed}}]})
    assert told["holders"] == {"p": 1}


@pytest.mark.parametrize("answer", [None, [], {}, {"chunks": "4"}, {"results": []}])
def test_what_is_no_answer_tells_nothing(answer):
    assert mp.placed(answer) is None


@pytest.mark.parametrize("results", [None, 5, {}, [None, 1, {"placements": 3}, {"key": [], "placements": [7]}]])
def test_results_of_another_shape_have_no_holder(results):
    assert mp.placed({"chunks": 1, "results": results})["holders"] == {}


def facts(contexts: dict) -> dict:
    answers = {mp.STATUS: {"engine_type": mp.SERVER, "non_cuda_context_meta": contexts}}
    return mp.server_facts(answers.get)


def test_the_world_size_is_that_of_the_engine_and_not_of_one_that_is_gone():
    known = facts({"1": {"world_size": 1}, "2": {"world_size": 2}, "3": {"world_size": 2}, "4": {"world_size": 4}})
    assert known["world_size"] == 4, "the last one that registered"
    assert mp.of_engine(known, {"2", "3"})["world_size"] == 2
    assert mp.of_engine(known, {"1", "2"})["world_size"] == 4, "no engine has two sizes"
    assert mp.of_engine(known, set())["world_size"] == 4
    assert mp.of_engine({}, {"1"}) == {}


@pytest.mark.parametrize("contexts", [None, [], {"1": 5}, {"1": {"world_size": "2"}}, {"1": {"world_size": 0}}])
def test_a_context_of_another_shape_has_no_world_size(contexts):
    assert mp.of_engine(facts(contexts), {"1"})["world_size"] is None
